// Writes JSON text.
// Not a reader, and no document in memory: members appear in the order of the calls.
// Design note: client/perf/README.md.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace nodecomm::perf {

// Every value inside an object follows a Key; the caller balances Begin and End. One thread.
class JsonWriter {
 public:
  void BeginObject() { Open('{'); }
  void EndObject() { Close('}'); }
  void BeginArray() { Open('['); }
  void EndArray() { Close(']'); }
  void Key(absl::string_view key);
  void String(absl::string_view value);
  void Integer(int64_t value);
  // Six digits; null if not finite, which JSON cannot say.
  void Number(double value);
  void Null();

  const std::string& text() const { return text_; }

 private:
  void Open(char bracket);
  void Close(char bracket);
  // Writes the comma between two values, and the line break before one that begins a line.
  void Separate();
  void Quote(absl::string_view value);

  std::string text_;
  int depth_ = 0;
  bool first_ = true;
  bool after_key_ = false;
};

}  // namespace nodecomm::perf
