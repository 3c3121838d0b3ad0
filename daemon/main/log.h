// Where the daemon's log goes: standard error, one line an event, as text or JSON, with priorities
// if that is the journal. Not metrics. Lines never hold a session's token, and what workers chose
// (names, reasons) is escaped.
#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "daemon/config/config.h"
#include "daemon/main/log_line.h"
#include "daemon/main/log_writer.h"

namespace nodecomm {

// Makes spdlog's default logger write to standard error, from `level` up. Nobody waits for whoever
// reads that. Lines without fields may use spdlog's own functions.
void SetUpLog(LogLevel level, LogFormat format);
// From now on, from `level` up.
void SetLogLevel(LogLevel level);
// Gives what is yet to be written a moment; before the process ends.
void FlushLog();
// Lines since the start that nobody will see.
LogWriter::Lost LostLogLines();
// Of these, what the log could not tell of yet, or that its file was removed; empty: nothing.
// Thread-safe.
std::string LogProblem();

std::string Escaped(const absl::Status& status);

// The fields of lines that this thread writes while the object lives: spdlog's messages have no
// place for them, and lines are made where they are logged.
class WithLogFields {
 public:
  explicit WithLogFields(const LogFields& fields);
  ~WithLogFields();
  WithLogFields(const WithLogFields&) = delete;
  WithLogFields& operator=(const WithLogFields&) = delete;
};

// An event about somebody.
template <typename... Args>
void Log(spdlog::level::level_enum level, const LogFields& fields,
         spdlog::format_string_t<Args...> format, Args&&... args) {
  const WithLogFields with(fields);
  spdlog::log(level, format, std::forward<Args>(args)...);
}

}  // namespace nodecomm
