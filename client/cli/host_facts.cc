#include "client/cli/host_facts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/base/environment.h"
#include "client/base/unique_fd.h"
#include "client/cli/lock_holder.h"
#include "proto/control_page.h"

namespace nodecomm {
namespace {

// More than any host has; a directory of somebody's making is not read for ever.
constexpr size_t kEntriesMax = 256;
constexpr size_t kDevEntriesMax = 65536;  // also all that is no GPU's
constexpr int kLinesMax = 10000;
constexpr size_t kPagesMax = 65536;  // as limits.groups_max at most

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

std::vector<std::string> ListDirectory(const std::string& path, size_t max = kEntriesMax) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (std::filesystem::directory_iterator it(path, ignored), end; it != end && names.size() < max;
       it.increment(ignored)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Wed ...": the first word of digits
// and dots.
std::string DriverVersion(const std::string& root) {
  const std::string line = FirstLine(root + "/proc/driver/nvidia/version");
  const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  for (const std::string& word : words) {
    if (word.find('.') != std::string::npos &&
        word.find_first_not_of("0123456789.") == std::string::npos) {
      return word;
    }
  }
  return "";
}

// Opened, since a device cgroup lets nobody know beforehand. For a moment only: a GPU that is held
// open can't be reset.
DeviceFile Try(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  return {.path = path, .open_error = fd.valid() ? 0 : errno};
}

std::vector<DeviceFile> TryDevices(const std::string& root) {
  std::vector<DeviceFile> devices = {Try(root + "/dev/nvidiactl"), Try(root + "/dev/nvidia-uvm")};
  for (const std::string& name : ListDirectory(root + "/dev", kDevEntriesMax)) {
    const std::string_view number = std::string_view(name).substr(std::min<size_t>(6, name.size()));
    if (name.starts_with("nvidia") && !number.empty() &&
        number.find_first_not_of("0123456789") == std::string_view::npos) {
      devices.push_back(Try(absl::StrCat(root, "/dev/", name)));
    }
  }
  return devices;
}

bool IsMountPoint(const std::string& root, const std::string& path) {
  std::ifstream mounts(root + "/proc/self/mountinfo");
  std::string line;
  for (int i = 0; i < kLinesMax && std::getline(mounts, line); ++i) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(' ', 5));
    if (fields.size() > 4 && fields[4] == path) return true;
  }
  return false;
}

std::optional<FileSystemRoom> RoomAt(const std::string& path) {
  struct statvfs info = {};
  if (statvfs(path.c_str(), &info) != 0) return std::nullopt;
  return FileSystemRoom{.bytes_free = uint64_t{info.f_bavail} * info.f_frsize,
                        .bytes_total = uint64_t{info.f_blocks} * info.f_frsize,
                        .files_free = info.f_favail,
                        .files_total = info.f_files,
                        .read_only = (info.f_flag & ST_RDONLY) != 0};
}

RuntimeFile LookAtFile(const std::string& runtime_dir, const char* name) {
  struct stat status = {};
  if (stat(absl::StrCat(runtime_dir, "/", name).c_str(), &status) != 0) return {.name = name};
  return {.name = name,
          .exists = true,
          .uid = status.st_uid,
          .mode = status.st_mode & mode_t{07777},
          .is_socket = S_ISSOCK(status.st_mode)};
}

// "group-000000000000002a.control": as the daemon names them (daemon/group/control_page_file.cc).
std::vector<PageFile> FindCutPages(const std::string& groups_dir) {
  constexpr std::string_view kPrefix = "group-";
  constexpr std::string_view kSuffix = ".control";
  std::vector<PageFile> cut;
  for (const std::string& name : ListDirectory(groups_dir, kPagesMax)) {
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    const std::string number =
        name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
    PageFile page = {.path = absl::StrCat(groups_dir, "/", name)};
    struct stat status = {};
    if (!absl::SimpleHexAtoi(number, &page.generation) || stat(page.path.c_str(), &status) != 0) {
      continue;
    }
    page.bytes = static_cast<uint64_t>(status.st_size);
    if (page.bytes != kControlPageBytes) cut.push_back(std::move(page));
  }
  return cut;
}

void LookAtRuntimeDir(const std::string& path, HostFacts& facts) {
  facts.own_uid = geteuid();
  facts.runtime_dir = path;
  for (const LockHolder& holder : FindLockHolders(path)) {
    if (facts.lock_holder.has_value()) {
      facts.other_lock_holders.push_back(holder.pid);
      continue;
    }
    facts.lock_holder = holder.pid;
    facts.lock_holder_facts = ReadProcess(holder.pid);
    facts.lock_hidden = holder.lock == LockHolder::Lock::kHidden;
  }
  facts.daemons_elsewhere = FindDaemonsElsewhere(path);
  struct stat status = {};
  if (stat(path.c_str(), &status) != 0) {
    facts.runtime_dir_error = errno;
    return;
  }
  facts.runtime_dir_uid = status.st_uid;
  facts.runtime_dir_mode = status.st_mode & 07777;
  if (faccessat(AT_FDCWD, absl::StrCat(path, "/.").c_str(), X_OK, AT_EACCESS) != 0) {
    facts.runtime_dir_error = errno;
    return;
  }
  facts.runtime_dir_room = RoomAt(path);
  facts.lock_file = LookAtFile(path, kLockName);
  for (const char* name :
       {"session.sock", "control.sock", "workers/session.sock", "workers/control.sock"}) {
    facts.worker_sockets.push_back(LookAtFile(path, name));
  }
  for (const char* name : {"admin", "workers"}) {
    facts.socket_directories.push_back(LookAtFile(path, name));
  }
  for (const char* name : {"groups", "sessions"}) {
    facts.record_directories.push_back(LookAtFile(path, name));
  }
  facts.cut_pages = FindCutPages(absl::StrCat(path, "/groups"));
}

}  // namespace

HostFacts ReadHostFacts(const HostFactsOptions& options) {
  const std::string& root = options.root;
  HostFacts facts;
  facts.driver_version = DriverVersion(root);
  facts.driver_gpus = static_cast<int>(ListDirectory(root + "/proc/driver/nvidia/gpus").size());
  if (!facts.driver_version.empty()) facts.devices = TryDevices(root);
  facts.persistence_daemon = Exists(root + "/run/nvidia-persistenced/socket");
  facts.kernel_release = FirstLine(root + "/proc/sys/kernel/osrelease");
  facts.in_container = Exists(root + "/.dockerenv") || Exists(root + "/run/.containerenv") ||
                       Exists(root + "/var/run/secrets/kubernetes.io");

  LookAtRuntimeDir(options.runtime_dir, facts);
  for (const char* name : {"/session.sock", "/control.sock"}) {
    facts.socket_is_mounted |= IsMountPoint(root, options.runtime_dir + name);
  }
  facts.fast_path_disabled_here = IsOnInEnvironment("NODECOMM_DISABLE");
  return facts;
}

}  // namespace nodecomm
