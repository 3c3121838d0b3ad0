#include "daemon/main/log.h"

#include <google/protobuf/stubs/logging.h>
#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"

namespace nodecomm {
namespace {

constexpr absl::Duration kLimitInterval = absl::Seconds(1);

thread_local const LogFields* current_fields = nullptr;

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

LogLevel FromSpdlog(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
      return LogLevel::kTrace;
    case spdlog::level::debug:
      return LogLevel::kDebug;
    case spdlog::level::warn:
      return LogLevel::kWarning;
    case spdlog::level::err:
    case spdlog::level::critical:
      return LogLevel::kError;
    default:
      return LogLevel::kInfo;
  }
}

// systemd says in JOURNAL_STREAM which file is the journal; standard error may have been redirected
// since. Source: systemd.exec(5).
LogTarget TargetOfStandardError() {
  const char* const journal = std::getenv("JOURNAL_STREAM");
  struct stat status = {};
  if (journal == nullptr || fstat(STDERR_FILENO, &status) != 0) return LogTarget::kStream;
  return absl::StrCat(status.st_dev, ":", status.st_ino) == journal ? LogTarget::kJournal
                                                                    : LogTarget::kStream;
}

class LineFormatter final : public spdlog::formatter {
 public:
  LineFormatter(LogFormat format, LogTarget target) : format_(format), target_(target) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& to) override {
    LogLine line{.time = absl::FromChrono(message.time),
                 .level = FromSpdlog(message.level),
                 .message = {message.payload.data(), message.payload.size()}};
    if (current_fields != nullptr) line.fields = *current_fields;
    const std::string text = absl::StrCat(RenderLogLine(line, format_, target_), "\n");
    if (format_ == LogFormat::kText && target_ == LogTarget::kStream) {
      // The level, which the sink colours on a terminal: the second word.
      message.color_range_start = to.size() + text.find(' ') + 1;
      message.color_range_end = message.color_range_start + LogLevelWord(line.level).size();
    }
    to.append(text.data(), text.data() + text.size());
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<LineFormatter>(format_, target_);
  }

 private:
  const LogFormat format_;
  const LogTarget target_;
};

}  // namespace

void SetUpLog(LogLevel level, LogFormat format) {
  // What a worker sends that is no message is answered with an error; without this the library
  // would also write a line for each.
  google::protobuf::SetLogHandler(nullptr);
  auto logger = std::make_shared<spdlog::logger>(
      "nodecommd", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_level(ToSpdlog(level));
  logger->set_formatter(std::make_unique<LineFormatter>(format, TargetOfStandardError()));
  spdlog::set_default_logger(std::move(logger));
}

void SetLogLevel(LogLevel level) { spdlog::set_level(ToSpdlog(level)); }

std::string Escaped(const absl::Status& status) { return Escaped(std::string(status.message())); }

WithLogFields::WithLogFields(const LogFields& fields) { current_fields = &fields; }
WithLogFields::~WithLogFields() { current_fields = nullptr; }

std::optional<int> LogLimit::Take(absl::Time now) {
  absl::MutexLock lock(&mu_);
  if (now < next_) {
    ++left_out_;
    return std::nullopt;
  }
  next_ = now + kLimitInterval;
  return std::exchange(left_out_, 0);
}

}  // namespace nodecomm
