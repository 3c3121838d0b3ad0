// The option --runtime-dir, the same in every program. Does not look whether anything is there: the
// program says that better when it looks. With exceptions, as CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace nodecomm {

// Sets `path`, which outlives the parsing, from the option or from NODECOMM_RUNTIME_DIR. Refuses
// what is relative, and an empty option, as the configuration does: a daemon and its clients are
// started in different places, so that a relative name would mean another directory to each. What
// is not UTF-8 is refused, too: no message of the daemon could have it.
void AddRuntimeDirOption(CLI::App& app, std::string& path, const std::string& description);

}  // namespace nodecomm
