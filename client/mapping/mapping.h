// One owner for one mapped range of shared memory, whatever it is made of.
// Not the memory: that lives as long as anybody maps it or holds its file descriptor.
// Used by the two devices (device.h).
#pragma once

#include <cstddef>
#include <utility>

#include "client/base/quantities.h"

namespace nodecomm {

class [[nodiscard]] Mapping {
 public:
  // Cannot fail in a way that anybody could mend.
  using Unmap = void (*)(std::byte* data, ByteCount bytes);

  Mapping() = default;
  Mapping(std::byte* data, ByteCount bytes, Unmap unmap)
      : data_(data), bytes_(bytes), unmap_(unmap) {}
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_), unmap_(other.unmap_) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      Reset();
      data_ = std::exchange(other.data_, nullptr);
      bytes_ = other.bytes_;
      unmap_ = other.unmap_;
    }
    return *this;
  }
  ~Mapping() { Reset(); }

  std::byte* data() const { return data_; }
  ByteCount bytes() const { return bytes_; }

  void Reset() {
    if (data_ != nullptr) unmap_(data_, bytes_);
    data_ = nullptr;
  }

 private:
  std::byte* data_ = nullptr;
  ByteCount bytes_;
  Unmap unmap_ = nullptr;
};

}  // namespace nodecomm
