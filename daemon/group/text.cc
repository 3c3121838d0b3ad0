#include "daemon/group/text.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace nodecomm {

std::string RankList(std::span<const Rank> ranks) {
  return absl::StrFormat("%s %s", ranks.size() == 1 ? "rank" : "ranks",
                         absl::StrJoin(ranks, ", ", [](std::string* out, Rank rank) {
                           out->append(std::to_string(rank.value));
                         }));
}

std::string RankAndProcess(Rank rank, pid_t pid) {
  return absl::StrFormat("rank %d (process %d)", rank.value, pid);
}

std::string GroupLabel(std::string_view name) {
  return absl::StrFormat("group '%s'", absl::Utf8SafeCEscape({name.data(), name.size()}));
}

std::string_view CutUtf8(std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  size_t end = bytes_max;
  // Back to the first byte of the character that does not fit whole.
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace nodecomm
