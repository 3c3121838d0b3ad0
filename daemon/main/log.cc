#include "daemon/main/log.h"

#include <google/protobuf/stubs/logging.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "absl/strings/escaping.h"

namespace nodecomm {
namespace {

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

}  // namespace

void SetUpLog(LogLevel level) {
  // What a worker sends that is no message is answered with an error; without this the library
  // would also write a line for each.
  google::protobuf::SetLogHandler(nullptr);
  auto logger = std::make_shared<spdlog::logger>(
      "nodecommd", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_level(ToSpdlog(level));
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_default_logger(std::move(logger));
}

void SetLogLevel(LogLevel level) { spdlog::set_level(ToSpdlog(level)); }

std::string Escaped(std::string_view text) {
  return absl::Utf8SafeCEscape(absl::string_view(text.data(), text.size()));
}

std::string Escaped(const absl::Status& status) { return Escaped(std::string(status.message())); }

}  // namespace nodecomm
