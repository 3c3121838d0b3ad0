// Where the daemon's log goes: standard error, one line an event.
// Not metrics. Lines never hold a session's token, and what workers chose (names, reasons) is
// escaped.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "daemon/config/config.h"

namespace nodecomm {

// Makes spdlog's default logger write to standard error, from `level` up. Nobody waits for whoever
// reads that.
void SetUpLog(LogLevel level);
// From now on, from `level` up.
void SetLogLevel(LogLevel level);
// Gives what is yet to be written a moment; before the process ends.
void FlushLog();

// For words that a worker chose: no control characters, so that nobody writes lines of the log.
std::string Escaped(std::string_view text);
std::string Escaped(const absl::Status& status);

}  // namespace nodecomm
