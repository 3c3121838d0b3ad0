// What nodecommd writes to a connection on admin.sock that it does not take, before it closes it:
// one line of text. No gRPC server begins so: its first byte is 0. Not the refusal on session.sock,
// which is a frame (framing.h). Design note: proto/README.md.
#pragma once

#include <cstddef>

namespace nodecomm {

// The reason follows, and a newline.
inline constexpr char kRefusalStart[] = "nodecommd refuses: ";
// The reason begins so where no administrator asks; else a limit was reached.
inline constexpr char kRefusesUser[] = "it answers root and its own user";
inline constexpr size_t kRefusalLineBytesMax = 512;

}  // namespace nodecomm
