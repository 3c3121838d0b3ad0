#include "client/reference/reference.h"

#include <cstdio>
#include <functional>
#include <sstream>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/base/version.h"

namespace nodecomm {
namespace {

// CLI11 shows no option of an empty group.
std::vector<const CLI::Option*> VisibleOptions(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return !option->get_group().empty(); });
}

std::vector<const CLI::App*> Commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// "-n,--ranks", or a positional's name.
std::string NamesOf(const CLI::Option& option) {
  return option.get_positional() ? option.get_name(true) : option.get_name(false, true);
}

std::vector<std::string> DashedNames(const CLI::Option& option) {
  if (option.get_positional()) return {};
  return absl::StrSplit(NamesOf(option), ',');
}

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// The choices of an option that has some, as CLI11 writes them into its type: "TEXT:{a,b}".
std::vector<std::string> Choices(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t begin = type.find('{');
  const size_t end = type.find('}');
  if (begin == std::string::npos || end == std::string::npos) return {};
  return absl::StrSplit(type.substr(begin + 1, end - begin - 1), ',');
}

// --- manual

// What roff would take for its own: a backslash, a hyphen that should stay one, a line's first dot.
std::string Roff(std::string_view text) {
  std::string escaped = absl::StrReplaceAll(absl::string_view(text.data(), text.size()),
                                            {{"\\", "\\e"}, {"-", "\\-"}});
  if (!escaped.empty() && (escaped[0] == '.' || escaped[0] == '\'')) escaped.insert(0, "\\&");
  return absl::StrReplaceAll(escaped, {{"\n.", "\n\\&."}, {"\n'", "\n\\&'"}});
}

void AppendOption(const CLI::Option& option, std::string& page) {
  absl::StrAppend(&page, ".TP\n\\fB",
                  Roff(absl::StrJoin(absl::StrSplit(NamesOf(option), ','), ", ")), "\\fR");
  if (TakesValue(option) && !option.get_positional()) {
    absl::StrAppend(&page, " \\fI", Roff(option.get_type_name()), "\\fR");
  }
  absl::StrAppend(&page, "\n", Roff(option.get_description()));
  if (!option.get_default_str().empty()) {
    absl::StrAppend(&page, " (default: ", Roff(option.get_default_str()), ")");
  }
  if (!option.get_envname().empty()) {
    absl::StrAppend(&page, " (environment: ", Roff(option.get_envname()), ")");
  }
  absl::StrAppend(&page, "\n");
}

void AppendCommands(const CLI::App& app, const std::string& prefix, std::string& page) {
  for (const CLI::App* command : Commands(app)) {
    const std::string name = absl::StrCat(prefix, command->get_name());
    if (!Commands(*command).empty()) {
      AppendCommands(*command, absl::StrCat(name, " "), page);
      continue;
    }
    absl::StrAppend(&page, ".SS ", Roff(name), "\n", Roff(command->get_description()), ".\n");
    for (const CLI::Option* option : VisibleOptions(*command)) {
      if (option != command->get_help_ptr()) AppendOption(*option, page);
    }
  }
}

void AppendSection(const char* title, const std::string& text, std::string& page) {
  if (!text.empty()) absl::StrAppend(&page, ".SH ", title, "\n", text, "\n");
}

std::string RenderManual(const CLI::App& app, const ManualTexts& texts) {
  const std::string& name = app.get_name();
  std::string summary = app.get_description();
  summary = summary.substr(0, summary.find('.'));  // its first sentence
  std::string page = absl::StrCat(".TH ", absl::AsciiStrToUpper(name), " ", texts.section,
                                  " \"\" \"", "nodecomm ", kVersion, "\"\n");
  AppendSection("NAME", absl::StrCat(Roff(name), " \\- ", Roff(summary)), page);
  AppendSection("SYNOPSIS",
                absl::StrCat("\\fB", Roff(name), "\\fR [\\fIOPTIONS\\fR]",
                             Commands(app).empty() ? "" : " \\fICOMMAND\\fR"),
                page);
  AppendSection("DESCRIPTION", Roff(texts.description), page);
  absl::StrAppend(&page, ".SH OPTIONS\n");
  for (const CLI::Option* option : VisibleOptions(app)) AppendOption(*option, page);
  if (!Commands(app).empty()) {
    absl::StrAppend(&page, ".SH COMMANDS\n");
    AppendCommands(app, "", page);
  }
  AppendSection("EXIT STATUS", Roff(app.get_footer()), page);
  AppendSection("FILES", Roff(texts.files), page);
  AppendSection("SEE ALSO", Roff(texts.see_also), page);
  return page;
}

// --- completion

// Visits the program and each of its commands; a command's place is "/p2p/check".
void Visit(const CLI::App& app, const std::string& place,
           const std::function<void(const std::string& place, const CLI::App& app)>& visit) {
  visit(place, app);
  for (const CLI::App* command : Commands(app)) {
    Visit(*command, absl::StrCat(place, "/", command->get_name()), visit);
  }
}

// The arms of a `case` that follows the words so far down to a command.
std::string PlacePattern(const CLI::App& app) {
  std::vector<std::string> places;
  Visit(app, "", [&](const std::string& place, const CLI::App&) {
    if (!place.empty()) places.push_back(place);
  });
  return absl::StrJoin(places, "|");
}

// Options that take a value, each once, by name.
std::vector<const CLI::Option*> ValueOptions(const CLI::App& app) {
  std::vector<const CLI::Option*> options;
  std::vector<std::string> seen;
  Visit(app, "", [&](const std::string&, const CLI::App& command) {
    for (const CLI::Option* option : VisibleOptions(command)) {
      if (!TakesValue(*option) || option->get_positional()) continue;
      const std::string names = NamesOf(*option);
      if (std::find(seen.begin(), seen.end(), names) != seen.end()) continue;
      seen.push_back(names);
      options.push_back(option);
    }
  });
  return options;
}

bool IsDirectory(const CLI::Option& option) { return option.get_type_name() == "DIR"; }
bool IsFile(const CLI::Option& option) { return option.get_type_name() == "FILE"; }

std::string RenderBash(const CLI::App& app) {
  const std::string& name = app.get_name();
  const std::string function = absl::StrCat("_", absl::StrReplaceAll(name, {{"-", "_"}}));
  std::string text = absl::StrCat(
      "# bash completion for ", name, "; made from its option table.\n", function, "() {\n",
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} place= word words=\n",
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n");
  if (!Commands(app).empty()) {
    absl::StrAppend(&text, "    case \"$place/$word\" in ", PlacePattern(app),
                    ") place+=/$word ;; esac\n");
  } else {
    absl::StrAppend(&text, "    :\n");
  }
  absl::StrAppend(&text, "  done\n  COMPREPLY=()\n  case \"$prev\" in\n");
  for (const CLI::Option* option : ValueOptions(app)) {
    const std::vector<std::string> choices = Choices(*option);
    std::string reply = "return";
    if (!choices.empty()) {
      reply = absl::StrCat("mapfile -t COMPREPLY < <(compgen -W '", absl::StrJoin(choices, " "),
                           "' -- \"$cur\"); return");
    } else if (IsDirectory(*option)) {
      reply = "mapfile -t COMPREPLY < <(compgen -d -- \"$cur\"); return";
    } else if (IsFile(*option)) {
      reply = "mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return";
    }
    absl::StrAppend(&text, "    ", absl::StrJoin(DashedNames(*option), "|"), ") ", reply, " ;;\n");
  }
  absl::StrAppend(&text, "    *) ;;\n  esac\n  case \"$place\" in\n");
  std::vector<std::string> global;
  for (const CLI::Option* option : VisibleOptions(app)) {
    for (const std::string& dashed : DashedNames(*option)) global.push_back(dashed);
  }
  Visit(app, "", [&](const std::string& place, const CLI::App& command) {
    std::vector<std::string> words;
    for (const CLI::App* sub : Commands(command)) words.push_back(sub->get_name());
    if (&command != &app) {
      for (const CLI::Option* option : VisibleOptions(command)) {
        if (option == command.get_help_ptr()) continue;
        for (const std::string& dashed : DashedNames(*option)) words.push_back(dashed);
      }
    }
    words.insert(words.end(), global.begin(), global.end());
    absl::StrAppend(&text, "    '", place, "') words='", absl::StrJoin(words, " "), "' ;;\n");
  });
  absl::StrAppend(&text, "    *) ;;\n  esac\n",
                  "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}\n",
                  "complete -F ", function, " ", name, "\n");
  return text;
}

// As an entry of _describe: a colon divides, a quote ends the string.
std::string ZshEntry(const std::string& word, const std::string& help) {
  return absl::StrCat("    '", absl::StrReplaceAll(word, {{":", "\\:"}}), ":",
                      absl::StrReplaceAll(help, {{"'", "'\\''"}}), "'\n");
}

std::string RenderZsh(const CLI::App& app) {
  const std::string& name = app.get_name();
  // Not `path`, `commands` or `options`: those are zsh's own.
  std::string text = absl::StrCat("#compdef ", name, "\n# Made from its option table.\n",
                                  "local place= word\nlocal -a subs flags\n",
                                  "for word in ${words[2,CURRENT-1]}; do\n");
  if (!Commands(app).empty()) {
    absl::StrAppend(&text, "  case \"$place/$word\" in (", PlacePattern(app),
                    ") place+=/$word ;; esac\n");
  } else {
    absl::StrAppend(&text, "  :\n");
  }
  absl::StrAppend(&text, "done\ncase \"${words[CURRENT-1]}\" in\n");
  for (const CLI::Option* option : ValueOptions(app)) {
    const std::vector<std::string> choices = Choices(*option);
    std::string reply = "_message value";
    if (!choices.empty()) reply = absl::StrCat("compadd -- ", absl::StrJoin(choices, " "));
    if (IsDirectory(*option)) reply = "_files -/";
    if (IsFile(*option)) reply = "_files";
    absl::StrAppend(&text, "  (", absl::StrJoin(DashedNames(*option), "|"), ") ", reply,
                    "; return ;;\n");
  }
  absl::StrAppend(&text, "esac\ncase \"$place\" in\n");
  Visit(app, "", [&](const std::string& place, const CLI::App& command) {
    absl::StrAppend(&text, "  ('", place, "') subs=(\n");
    for (const CLI::App* sub : Commands(command)) {
      absl::StrAppend(&text, ZshEntry(sub->get_name(), sub->get_description()));
    }
    absl::StrAppend(&text, "  ); flags=(\n");
    const auto add_options = [&](const CLI::App& from) {
      for (const CLI::Option* option : VisibleOptions(from)) {
        if (&from != &app && option == from.get_help_ptr()) continue;
        for (const std::string& dashed : DashedNames(*option)) {
          absl::StrAppend(&text, ZshEntry(dashed, option->get_description()));
        }
      }
    };
    if (&command != &app) add_options(command);
    add_options(app);
    absl::StrAppend(&text, "  ) ;;\n");
  });
  absl::StrAppend(&text, "esac\n_describe -t commands command subs\n_describe -o option flags\n");
  return text;
}

}  // namespace

bool PrintOutcome(const CLI::App& app, const CLI::ParseError& outcome) {
  // By stdout, not std::cout: the reason of a failure would be lost (FlushStandardOutput).
  std::ostringstream answer;
  const bool asked_for = app.exit(outcome, answer) == 0;
  std::fputs(answer.str().c_str(), stdout);
  return asked_for;
}

void AddReferenceOption(CLI::App& app, std::string& what) {
  app.add_option("--generate", what, "Print the manual page, or a shell's completion")
      ->check(CLI::IsMember({"man", "bash", "zsh"}))
      ->group("");
}

std::string RenderReference(const CLI::App& app, const std::string& what,
                            const ManualTexts& texts) {
  if (what == "bash") return RenderBash(app);
  if (what == "zsh") return RenderZsh(app);
  return RenderManual(app, texts);
}

}  // namespace nodecomm
