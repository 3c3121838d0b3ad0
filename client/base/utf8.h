// Text that goes into messages must be UTF-8: Protocol Buffers refuses to send anything else.
// For what callers of the library chose. Not for printing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace nodecomm {

bool IsUtf8(std::string_view text);

// The first `bytes_max` bytes at most, ending at a character's end; what is no UTF-8 is replaced, a
// '?' for each byte.
std::string ToUtf8(std::string_view text, size_t bytes_max);

}  // namespace nodecomm
