#include "daemon/main/log.h"

#include <google/protobuf/stubs/logging.h>
#include <spdlog/details/os.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "daemon/main/log_writer.h"

namespace nodecomm {
namespace {

constexpr absl::Duration kFlushTimeout = absl::Seconds(1);

constexpr char kPlain[] = "\033[m";

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

spdlog::sink_ptr MakeSink() {
  absl::StatusOr<std::unique_ptr<LogWriter>> writer = LogWriter::Start(STDERR_FILENO);
  // Without a thread to write them, lines are written at once.
  if (!writer.ok()) return std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  log_writer = writer->release();
  return std::make_shared<QueueSink>(log_writer);
}

}  // namespace

void SetUpLog(LogLevel level) {
  // What a worker sends that is no message is answered with an error; without this the library
  // would also write a line for each.
  google::protobuf::SetLogHandler(nullptr);
  auto logger = std::make_shared<spdlog::logger>("nodecommd", MakeSink());
  logger->set_level(ToSpdlog(level));
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_default_logger(std::move(logger));
}

void SetLogLevel(LogLevel level) { spdlog::set_level(ToSpdlog(level)); }

void FlushLog() {
  if (log_writer != nullptr) log_writer->Flush(kFlushTimeout);
}

std::string Escaped(std::string_view text) {
  return absl::Utf8SafeCEscape(absl::string_view(text.data(), text.size()));
}

std::string Escaped(const absl::Status& status) { return Escaped(std::string(status.message())); }

}  // namespace nodecomm
