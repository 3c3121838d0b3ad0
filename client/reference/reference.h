// Manual pages and shell completions made from a program's own option table, the one that --help
// prints: what is not there is in neither. And --help itself. Not a parser of options. With
// exceptions, as CLI11. Design note: client/reference/README.md.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace nodecomm {

// What `app.parse` ends with where it does not go on: prints the help or the version that was asked
// for, or what is wrong. Whether it was the former.
bool PrintOutcome(const CLI::App& app, const CLI::ParseError& outcome);

// What the table does not say.
struct ManualTexts {
  int section = 1;
  const char* description = "";
  const char* files = "";  // one
  const char* see_also = "";
};

// Adds the hidden option --generate man|bash|zsh; `what` becomes its value.
void AddReferenceOption(CLI::App& app, std::string& what);

// The text that --generate asks for.
std::string RenderReference(const CLI::App& app, const std::string& what, const ManualTexts& texts);

}  // namespace nodecomm
