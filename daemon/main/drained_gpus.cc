#include "daemon/main/drained_gpus.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/base/gpu_uuid.h"
#include "daemon/files/small_file.h"

namespace nodecomm {
namespace {

constexpr size_t kFileBytesMax = 16 << 10;

}  // namespace

absl::StatusOr<std::set<std::string>> ReadDrainedGpus(const std::string& path) {
  std::set<std::string> uuids;
  const absl::StatusOr<std::string> text = ReadSmallFile(path, kFileBytesMax);
  if (absl::IsNotFound(text.status())) return uuids;
  if (!text.ok()) return text.status();
  bool whole = true;
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    whole = whole && IsGpuUuid({line.data(), line.size()});
    uuids.insert(std::string(line));
  }
  // Taken as it is, it would put a GPU back into service that somebody may be resetting. It is
  // never written empty.
  if (whole && !uuids.empty()) return uuids;
  return absl::InvalidArgumentError(absl::StrCat(
      path, ", which says which GPUs are drained, is damaged: write their UUIDs into it (",
      kGpuUuidExample, "), one a line, or remove it if none is to be drained"));
}

absl::Status WriteDrainedGpus(const std::string& path, const std::set<std::string>& gpu_uuids) {
  if (!gpu_uuids.empty()) {
    return ReplaceSmallFile(path, absl::StrCat(absl::StrJoin(gpu_uuids, "\n"), "\n"));
  }
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("removing ", path));
}

}  // namespace nodecomm
