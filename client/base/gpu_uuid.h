// What the UUID of a GPU looks like. Not whether there is one (daemon/topology).
// Design note: client/base/README.md.
#pragma once

#include <string_view>

#include "absl/strings/ascii.h"

namespace nodecomm {

// For messages about text that is none.
inline constexpr char kGpuUuidExample[] = "GPU-01234567-89ab-cdef-0123-456789abcdef";

// "GPU-" and the usual five groups of hexadecimal digits.
inline bool IsGpuUuid(std::string_view text) {
  constexpr std::string_view kShape = "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  if (text.size() != kShape.size() || !text.starts_with("GPU-")) return false;
  for (size_t i = 4; i < text.size(); ++i) {
    const bool fits = kShape[i] == '-' ? text[i] == '-' : absl::ascii_isxdigit(text[i]);
    if (!fits) return false;
  }
  return true;
}

}  // namespace nodecomm
