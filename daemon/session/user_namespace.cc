#include "daemon/session/user_namespace.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "daemon/files/small_file.h"

namespace nodecomm {
namespace {

constexpr size_t kFileBytesMax = 64 << 10;
// Every number but the largest, which means "none".
constexpr uint64_t kUsers = std::numeric_limits<uint32_t>::max();
constexpr uid_t kNobodyDefault = 65534;

// The uid of all that have no number here; where it cannot be told, the kernel's default.
uid_t ReadNobody() {
  const auto text = ReadSmallFile("/proc/sys/kernel/overflowuid", kFileBytesMax);
  uid_t nobody = kNobodyDefault;
  if (text.ok() && absl::SimpleAtoi(*text, &nobody)) return nobody;
  return kNobodyDefault;
}

}  // namespace

bool MapsEveryUser(std::string_view uid_map) {
  uint64_t mapped = 0;
  // "FIRST-HERE FIRST-OUTSIDE COUNT" a line; ranges do not overlap.
  const std::vector<std::string> lines =
      absl::StrSplit(std::string(uid_map), '\n', absl::SkipEmpty());
  for (const std::string& line : lines) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint64_t count = 0;
    if (fields.size() == 3 && absl::SimpleAtoi(fields[2], &count)) mapped += count;
  }
  return mapped >= kUsers;
}

bool TellsUsersApart() {
  static const bool kMapsEverybody = [] {
    const auto map = ReadSmallFile("/proc/self/uid_map", kFileBytesMax);
    // Without the file the kernel has no user namespaces.
    return map.ok() ? MapsEveryUser(*map) : absl::IsNotFound(map.status());
  }();
  return kMapsEverybody;
}

bool MayBeSeveralUsers(uid_t uid) {
  static const uid_t kNobody = ReadNobody();
  return !TellsUsersApart() && uid == kNobody;
}

}  // namespace nodecomm
