#include "daemon/main/log_line.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/config/config_message.h"

namespace nodecomm {
namespace {

// Of syslog(3).
int Priority(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return 3;
    case LogLevel::kWarning:
      return 4;
    case LogLevel::kInfo:
      return 6;
    case LogLevel::kDebug:
    case LogLevel::kTrace:
      break;
  }
  return 7;
}

// As a string of JSON. Bytes that are no UTF-8 become replacement characters, or no reader would
// take the line.
std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '"' || byte == '\\') {
      quoted += {'\\', text[i]};
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(&quoted, "\\u%04x", byte);
    } else if (byte < 0x80) {
      quoted += text[i];
    } else {
      // Escaped() has left valid UTF-8 as it was; anything else has never gone through it.
      const size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 0;
      bool valid = length > 0 && byte < 0xf5 && i + length <= text.size();
      for (size_t k = 1; valid && k < length; ++k) {
        valid = (static_cast<unsigned char>(text[i + k]) & 0xc0) == 0x80;
      }
      if (valid) {
        quoted += text.substr(i, length);
        i += length - 1;
      } else {
        quoted += "\\ufffd";
      }
    }
  }
  return quoted + "\"";
}

std::string Time(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3S%Ez", time, absl::LocalTimeZone());
}

std::string SessionWord(SessionId session) { return absl::StrFormat("%016x", session.value); }

std::string RenderJson(const LogLine& line) {
  std::string json =
      absl::StrCat("{\"time\":\"", Time(line.time), "\",\"level\":\"",
                   std::string(LogLevelName(line.level)), "\",\"message\":", Quoted(line.message));
  const LogFields& fields = line.fields;
  if (fields.session.has_value()) {
    absl::StrAppend(&json, ",\"session\":\"", SessionWord(*fields.session), "\"");
  }
  // A string: many readers of JSON keep 53 bits of a number.
  if (fields.group.has_value()) absl::StrAppend(&json, ",\"group\":\"", *fields.group, "\"");
  if (!fields.group_name.empty()) {
    absl::StrAppend(&json, ",\"group_name\":", Quoted(fields.group_name));
  }
  if (fields.rank.has_value()) absl::StrAppend(&json, ",\"rank\":", *fields.rank);
  if (fields.uid.has_value()) absl::StrAppend(&json, ",\"uid\":", *fields.uid);
  if (fields.pid.has_value()) absl::StrAppend(&json, ",\"pid\":", *fields.pid);
  if (!fields.gpu.empty()) absl::StrAppend(&json, ",\"gpu\":", Quoted(fields.gpu));
  return json + "}";
}

// What is left of a line break; foreign words were escaped before they came here.
std::string OneLine(std::string_view text) {
  std::string line(text);
  for (char& byte : line) {
    if (static_cast<unsigned char>(byte) < 0x20) byte = ' ';
  }
  return line;
}

// What may stand between quotes: they are escaped, too.
std::string InQuotes(std::string_view text) {
  return absl::Utf8SafeCEscape(absl::string_view(text.data(), text.size()));
}

std::string RenderText(const LogLine& line) {
  std::string text = OneLine(line.message);
  const LogFields& fields = line.fields;
  if (fields.session.has_value()) {
    absl::StrAppend(&text, " session=", SessionWord(*fields.session));
  }
  if (fields.group.has_value()) absl::StrAppend(&text, " group=", *fields.group);
  if (!fields.group_name.empty()) {
    absl::StrAppend(&text, " group_name=\"", InQuotes(fields.group_name), "\"");
  }
  if (fields.rank.has_value()) absl::StrAppend(&text, " rank=", *fields.rank);
  if (fields.uid.has_value()) absl::StrAppend(&text, " uid=", *fields.uid);
  if (fields.pid.has_value()) absl::StrAppend(&text, " pid=", *fields.pid);
  if (!fields.gpu.empty()) absl::StrAppend(&text, " gpu=", Escaped(fields.gpu));
  return text;
}

}  // namespace

std::string RenderLogLine(const LogLine& line, LogFormat format, LogTarget target) {
  const std::string priority =
      target == LogTarget::kJournal ? absl::StrCat("<", Priority(line.level), ">") : "";
  if (format == LogFormat::kJson) return absl::StrCat(priority, RenderJson(line));
  if (target == LogTarget::kJournal) return absl::StrCat(priority, RenderText(line));
  return absl::StrCat(Time(line.time), " ", std::string(LogLevelName(line.level)), " ",
                      RenderText(line));
}

std::string Escaped(std::string_view text) {
  std::string escaped;
  for (size_t at = 0; at < text.size();) {
    const size_t quote = std::min(text.find_first_of("\"'", at), text.size());
    escaped += InQuotes(text.substr(at, quote - at));
    escaped += text.substr(quote, 1);
    at = quote + 1;
  }
  return escaped;
}

}  // namespace nodecomm
