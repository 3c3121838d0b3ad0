#include "client/cli/lock_holder.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <fstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace nodecomm {
namespace {

// More locks than a host has.
constexpr int kLinesMax = 100'000;

}  // namespace

std::optional<int> FindLockHolder(const std::string& runtime_dir) {
  struct stat info = {};
  if (stat(absl::StrCat(runtime_dir, "/", kLockName).c_str(), &info) != 0) return std::nullopt;
  const std::string file =
      absl::StrFormat("%02x:%02x:%d", major(info.st_dev), minor(info.st_dev), info.st_ino);
  // "1: FLOCK  ADVISORY  WRITE 4242 00:1a:573 0 EOF"; who waits for a lock has "->" before FLOCK.
  std::ifstream locks("/proc/locks");
  std::string line;
  for (int i = 0; i < kLinesMax && std::getline(locks, line); ++i) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    int pid = 0;
    if (fields.size() > 5 && fields[1] == "FLOCK" && fields[5] == file &&
        absl::SimpleAtoi(fields[4], &pid)) {
      return pid;
    }
  }
  return std::nullopt;
}

}  // namespace nodecomm
