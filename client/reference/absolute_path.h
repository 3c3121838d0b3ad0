// The check of --runtime-dir, the same in every program. Not whether anything is there: the program
// says that better when it looks. With exceptions, as CLI11.
#pragma once

#include <CLI/CLI.hpp>

namespace nodecomm {

// Refuses what is empty or relative, as the configuration does: a daemon and its clients are
// started in different places, so that a relative name would mean another directory to each.
CLI::Validator AbsolutePath();

}  // namespace nodecomm
