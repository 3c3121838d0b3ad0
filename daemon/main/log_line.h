// One event as one line of the log: text for people or JSON for programs, with the journal's
// priority in front where it goes there. Pure; who writes it is log.h. Design note:
// daemon/main/README.md.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "daemon/config/config.h"
#include "daemon/group/fd_courier.h"

namespace nodecomm {

// Whom an event is about. Never a token.
struct LogFields {
  std::optional<SessionId> session = {};
  std::optional<uint64_t> group = {};  // its generation
  std::string_view group_name = {};
  std::optional<int> rank = {};
  std::optional<uid_t> uid = {};
  std::optional<pid_t> pid = {};
  std::string_view gpu = {};  // a UUID
};

enum class LogTarget {
  kStream,   // a terminal, a file
  kJournal,  // systemd's, which has times of its own and takes "<6>" for a priority
};

struct LogLine {
  absl::Time time;
  LogLevel level = LogLevel::kInfo;
  std::string_view message;
  LogFields fields = {};
};

// Without a newline at its end or within, whatever is in it.
std::string RenderLogLine(const LogLine& line, LogFormat format, LogTarget target);

// For words that a worker chose: no control characters, so that nobody writes lines of the log.
// Quotes stay: JSON escapes them, once.
std::string Escaped(std::string_view text);

}  // namespace nodecomm
