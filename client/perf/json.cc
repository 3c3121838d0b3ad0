// See json.h.
#include "client/perf/json.h"

#include <cmath>

#include "absl/strings/str_format.h"

namespace nodecomm::perf {

void JsonWriter::Separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (depth_ == 0) return;
  if (!first_) text_ += ',';
  text_ += '\n';
  text_.append(static_cast<size_t>(depth_) * 2, ' ');
  first_ = false;
}

void JsonWriter::Open(char bracket) {
  Separate();
  text_ += bracket;
  ++depth_;
  first_ = true;
}

void JsonWriter::Close(char bracket) {
  --depth_;
  if (!first_) {
    text_ += '\n';
    text_.append(static_cast<size_t>(depth_) * 2, ' ');
  }
  text_ += bracket;
  first_ = false;
}

void JsonWriter::Quote(absl::string_view value) {
  text_ += '"';
  for (char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(&text_, "\\u%04x", byte);
    } else {
      text_ += c;
    }
  }
  text_ += '"';
}

void JsonWriter::Key(absl::string_view key) {
  Separate();
  Quote(key);
  text_ += ": ";
  after_key_ = true;
}

void JsonWriter::String(absl::string_view value) {
  Separate();
  Quote(value);
}

void JsonWriter::Integer(int64_t value) {
  Separate();
  absl::StrAppendFormat(&text_, "%d", value);
}

void JsonWriter::Number(double value) {
  if (!std::isfinite(value)) return Null();
  Separate();
  absl::StrAppendFormat(&text_, "%.6g", value);
}

void JsonWriter::Null() {
  Separate();
  text_ += "null";
}

}  // namespace nodecomm::perf
