#include "client/cli/lock_holder.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace nodecomm {
namespace {

// More locks than a host has, and more descriptors than a daemon.
constexpr int kLinesMax = 100'000;
constexpr int kDescriptorsMax = 100'000;
constexpr size_t kCommandLineBytesMax = 64 << 10;

constexpr std::string_view kRemovedMark = " (deleted)";

bool IsSame(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// A process in a container has other files under the same names.
bool SharesOurRoot(int pid) {
  struct stat own = {};
  struct stat its = {};
  return stat("/", &own) == 0 && stat(absl::StrFormat("/proc/%d/root", pid).c_str(), &its) == 0 &&
         IsSame(own, its);
}

std::string Canonical(const std::string& path) {
  std::error_code error;
  std::string whole = std::filesystem::weakly_canonical(path, error);
  return error ? path : whole;
}

std::vector<std::string> CommandLineOf(int pid) {
  std::ifstream file(absl::StrFormat("/proc/%d/cmdline", pid));
  std::string text(kCommandLineBytesMax, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return absl::StrSplit(text, '\0');
}

// Such a daemon has no GPUs.
bool Simulates(int pid) {
  const std::vector<std::string> words = CommandLineOf(pid);
  return std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return word == "--simulate" || word.starts_with("--simulate=");
  });
}

// What the daemon's command line told it to serve. Empty: it did not, but a file or nobody did.
std::string DirectoryServedBy(int pid) {
  constexpr std::string_view kOption = "--runtime-dir";
  const std::vector<std::string> words = CommandLineOf(pid);
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == kOption && i + 1 < words.size()) return Canonical(words[i + 1]);
    const std::string_view word = words[i];
    if (word.starts_with(kOption) && word.substr(kOption.size()).starts_with('=')) {
      return Canonical(std::string(word.substr(kOption.size() + 1)));
    }
  }
  return "";
}

// Which lock of `directory` the process has open, if any. `there`: the file that stands there, if
// one does.
std::optional<LockHolder::Lock> LockOf(int pid, const std::string& directory,
                                       const struct stat* there) {
  const std::string path = absl::StrCat(directory, "/", kLockName);
  std::error_code error;
  std::filesystem::directory_iterator it(absl::StrFormat("/proc/%d/fd", pid), error);
  for (int i = 0; !error && i < kDescriptorsMax && it != std::filesystem::end(it); ++i) {
    std::error_code ignored;
    std::string name = std::filesystem::read_symlink(it->path(), ignored);
    const bool removed = name.ends_with(kRemovedMark);
    if (removed) name.resize(name.size() - kRemovedMark.size());
    const bool is_lock = std::filesystem::path(name).filename() == kLockName;
    if (is_lock && (name == path || DirectoryServedBy(pid) == directory)) {
      struct stat open = {};
      const bool in_place =
          there != nullptr && stat(it->path().c_str(), &open) == 0 && IsSame(open, *there);
      if (in_place) return LockHolder::Lock::kInPlace;
      return removed ? LockHolder::Lock::kRemoved : LockHolder::Lock::kHidden;
    }
    it.increment(error);
  }
  return std::nullopt;
}

// The directory of a daemon's lock that the process has open, as the process itself sees it. Empty:
// it has none.
std::string DirectoryLockedBy(int pid) {
  std::error_code error;
  std::filesystem::directory_iterator it(absl::StrFormat("/proc/%d/fd", pid), error);
  for (int i = 0; !error && i < kDescriptorsMax && it != std::filesystem::end(it); ++i) {
    std::error_code ignored;
    const std::filesystem::path name = std::filesystem::read_symlink(it->path(), ignored);
    if (name.filename() == kLockName) return name.parent_path();
    it.increment(error);
  }
  return "";
}

struct FileLock {
  int pid = 0;
  std::string file;  // its device and number
};

// Those that hold a lock by flock.
std::vector<FileLock> ReadFileLocks() {
  std::vector<FileLock> found;
  // "1: FLOCK  ADVISORY  WRITE 4242 00:1a:573 0 EOF"; who waits for a lock has "->" before FLOCK.
  std::ifstream locks("/proc/locks");
  std::string line;
  for (int i = 0; i < kLinesMax && std::getline(locks, line); ++i) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    FileLock lock;
    if (fields.size() <= 5 || fields[1] != "FLOCK" || !absl::SimpleAtoi(fields[4], &lock.pid)) {
      continue;
    }
    lock.file = fields[5];
    found.push_back(std::move(lock));
  }
  return found;
}

}  // namespace

std::vector<LockHolder> FindLockHolders(const std::string& runtime_dir) {
  const std::string directory = Canonical(runtime_dir);
  struct stat info = {};
  const bool is_there = stat(absl::StrCat(directory, "/", kLockName).c_str(), &info) == 0;
  const std::string file = is_there ? absl::StrFormat("%02x:%02x:%d", major(info.st_dev),
                                                      minor(info.st_dev), info.st_ino)
                                    : "";
  std::vector<LockHolder> holders;
  std::set<int> others;
  for (const FileLock& lock : ReadFileLocks()) {
    if (lock.file == file) {
      holders.push_back({.pid = lock.pid, .lock = LockHolder::Lock::kInPlace});
    } else {
      others.insert(lock.pid);
    }
  }
  for (const int pid : others) {
    const bool is_known = std::any_of(holders.begin(), holders.end(),
                                      [&](const LockHolder& known) { return known.pid == pid; });
    if (is_known || !SharesOurRoot(pid)) continue;
    if (const auto lock = LockOf(pid, directory, is_there ? &info : nullptr); lock.has_value()) {
      holders.push_back({.pid = pid, .lock = *lock});
    }
  }
  std::stable_partition(holders.begin(), holders.end(), [](const LockHolder& holder) {
    return holder.lock == LockHolder::Lock::kInPlace;
  });
  return holders;
}

std::vector<OtherDaemon> FindDaemonsElsewhere(const std::string& runtime_dir) {
  std::set<int> pids;
  for (const FileLock& lock : ReadFileLocks()) pids.insert(lock.pid);
  for (const LockHolder& ours : FindLockHolders(runtime_dir)) pids.erase(ours.pid);
  std::vector<OtherDaemon> found;
  for (const int pid : pids) {
    if (std::string directory = DirectoryLockedBy(pid); !directory.empty() && !Simulates(pid)) {
      found.push_back({.pid = pid, .runtime_dir = std::move(directory)});
    }
  }
  return found;
}

std::optional<int> FindLockHolder(const std::string& runtime_dir) {
  const std::vector<LockHolder> holders = FindLockHolders(runtime_dir);
  if (holders.empty()) return std::nullopt;
  return holders.front().pid;
}

}  // namespace nodecomm
