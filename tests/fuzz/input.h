// Takes numbers and strings out of a fuzzer's input; zeros and nothing once it is used up.
// Not a parser: any input gives something. Used by the targets of this folder.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

namespace nodecomm {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool empty() const { return size_ == 0; }

  uint8_t Byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  // 0 to `max`.
  int Number(int max) { return Byte() % (max + 1); }
  uint64_t Word() {
    uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word = word << 8 | Byte();
    return word;
  }
  std::string Text(size_t bytes_max) {
    const size_t bytes = std::min({size_t{Byte()}, bytes_max, size_});
    return Take(bytes);
  }
  std::string Rest() { return Take(size_); }

 private:
  std::string Take(size_t bytes) {
    std::string text(reinterpret_cast<const char*>(data_), bytes);
    data_ += bytes;
    size_ -= bytes;
    return text;
  }

  const uint8_t* data_;
  size_t size_;
};

}  // namespace nodecomm
