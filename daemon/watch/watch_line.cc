#include "daemon/watch/watch_line.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace nodecomm {

std::string FormatXid(const XidEvent& event) {
  return absl::StrFormat("xid %s %d", event.gpu_uuid, event.code);
}

std::optional<XidEvent> ParseXid(std::string_view line) {
  const std::vector<std::string> words =
      absl::StrSplit(absl::string_view(line.data(), line.size()), ' ');
  XidEvent event;
  if (words.size() != 3 || words[0] != "xid" || words[1].empty() ||
      !absl::SimpleAtoi(words[2], &event.code) || event.code < 0) {
    return std::nullopt;
  }
  event.gpu_uuid = words[1];
  return event;
}

bool IsFatal(int xid_code) {
  // Those whose immediate action is a reset of the GPU or of the host, in NVIDIA's Xid catalogue
  // (https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html); without 109 (a context
  // switch that timed out), which any user's kernel can bring about.
  constexpr std::array<int, 8> kFatal = {62, 64, 79, 95, 110, 119, 120, 136};
  return std::find(kFatal.begin(), kFatal.end(), xid_code) != kFatal.end();
}

}  // namespace nodecomm
