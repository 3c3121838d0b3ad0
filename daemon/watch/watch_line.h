// What nodecomm-watcher says on its standard output: a line an event. Both ends come from one
// build. Not what an event means for groups (daemon/main). Design note: daemon/watch/README.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nodecomm {

// Said once, when errors are watched.
inline constexpr char kWatchingLine[] = "watching";

// A critical error that the driver reported of a GPU.
struct XidEvent {
  std::string gpu_uuid;
  int code = 0;
};

// "xid GPU-... 79"
std::string FormatXid(const XidEvent& event);
// Nothing: no such line.
std::optional<XidEvent> ParseXid(std::string_view line);

// Whether the GPU is of no more use until it is reset or replaced. Other errors end the program
// that caused them, which its group learns by itself.
bool IsFatal(int xid_code);

}  // namespace nodecomm
