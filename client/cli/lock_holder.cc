#include "client/cli/lock_holder.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace nodecomm {
namespace {

// More locks than a host has, and more descriptors than a daemon.
constexpr int kLinesMax = 100'000;
constexpr int kDescriptorsMax = 100'000;

// Whether the process has a file open that had this name until somebody removed it.
bool HasRemoved(int pid, const std::string& path) {
  const std::string removed = path + " (deleted)";
  std::error_code error;
  std::filesystem::directory_iterator it(absl::StrFormat("/proc/%d/fd", pid), error);
  for (int i = 0; !error && i < kDescriptorsMax && it != std::filesystem::end(it); ++i) {
    std::error_code ignored;
    if (std::filesystem::read_symlink(it->path(), ignored) == removed) return true;
    it.increment(error);
  }
  return false;
}

}  // namespace

std::optional<int> FindLockHolder(const std::string& runtime_dir) {
  const std::string path = absl::StrCat(runtime_dir, "/", kLockName);
  struct stat info = {};
  std::string file;  // empty: it is not there
  if (stat(path.c_str(), &info) == 0) {
    file = absl::StrFormat("%02x:%02x:%d", major(info.st_dev), minor(info.st_dev), info.st_ino);
  }
  std::set<int> others;
  // "1: FLOCK  ADVISORY  WRITE 4242 00:1a:573 0 EOF"; who waits for a lock has "->" before FLOCK.
  std::ifstream locks("/proc/locks");
  std::string line;
  for (int i = 0; i < kLinesMax && std::getline(locks, line); ++i) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    int pid = 0;
    if (fields.size() <= 5 || fields[1] != "FLOCK" || !absl::SimpleAtoi(fields[4], &pid)) continue;
    if (fields[5] == file) return pid;
    others.insert(pid);
  }
  std::error_code error;
  const std::string whole = std::filesystem::weakly_canonical(path, error);
  for (const int pid : others) {
    if (!error && HasRemoved(pid, whole)) return pid;
  }
  return std::nullopt;
}

}  // namespace nodecomm
