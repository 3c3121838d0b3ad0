#include "daemon/main/log.h"

#include <google/protobuf/stubs/logging.h>
#include <spdlog/details/os.h>
#include <spdlog/formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/config/config_message.h"

namespace nodecomm {
namespace {

constexpr absl::Duration kFlushTimeout = absl::Seconds(1);

constexpr char kPlain[] = "\033[m";

thread_local const LogFields* current_fields = nullptr;

const char* ColourOf(spdlog::level::level_enum level) {
  if (level >= spdlog::level::err) return "\033[31m\033[1m";
  if (level == spdlog::level::warn) return "\033[33m\033[1m";
  return level == spdlog::level::info ? "\033[32m" : "\033[36m";
}

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
      message.color_range_end = message.color_range_start + LogLevelName(line.level).size();
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

// Lines are made where they are logged, and written later.
class QueueSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit QueueSink(LogWriter* writer) : writer_(writer) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    std::string text(line.data(), line.size());
    if (coloured_ && message.color_range_end > message.color_range_start) {
      text.insert(message.color_range_end, kPlain);
      text.insert(message.color_range_start, ColourOf(message.level));
    }
    writer_->Write(std::move(text));
  }
  void flush_() override {}

  LogWriter* const writer_;
  const bool coloured_ = spdlog::details::os::in_terminal(stderr) != 0 &&
                         spdlog::details::os::is_color_terminal() != 0;
};

// Never destroyed: threads log until the process is gone.
LogWriter* log_writer = nullptr;

spdlog::sink_ptr MakeSink(LogFormat format, LogTarget target) {
  const auto render = [format, target](std::string_view message) {
    return RenderLogLine({.time = absl::Now(), .level = LogLevel::kWarning, .message = message},
                         format, target);
  };
  absl::StatusOr<std::unique_ptr<LogWriter>> writer =
      LogWriter::Start(STDERR_FILENO, LogWriter::kQueuedBytesMax, render);
  // Without a thread to write them, lines are written at once.
  if (!writer.ok()) return std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  log_writer = writer->release();
  return std::make_shared<QueueSink>(log_writer);
}

}  // namespace

void SetUpLog(LogLevel level, LogFormat format) {
  // What a worker sends that is no message is answered with an error; without this the library
  // would also write a line for each.
  google::protobuf::SetLogHandler(nullptr);
  const LogTarget target = TargetOfStandardError();
  auto logger = std::make_shared<spdlog::logger>("nodecommd", MakeSink(format, target));
  logger->set_level(ToSpdlog(level));
  logger->set_formatter(std::make_unique<LineFormatter>(format, target));
  spdlog::set_default_logger(std::move(logger));
}

void SetLogLevel(LogLevel level) { spdlog::set_level(ToSpdlog(level)); }

void FlushLog() {
  if (log_writer != nullptr) log_writer->Flush(kFlushTimeout);
}

LogWriter::Lost LostLogLines() {
  return log_writer == nullptr ? LogWriter::Lost() : log_writer->lost();
}

std::string LogProblem() { return log_writer == nullptr ? "" : log_writer->problem(); }

std::string Escaped(const absl::Status& status) { return Escaped(std::string(status.message())); }

WithLogFields::WithLogFields(const LogFields& fields) { current_fields = &fields; }
WithLogFields::~WithLogFields() { current_fields = nullptr; }

}  // namespace nodecomm
