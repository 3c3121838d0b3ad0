#include "daemon/files/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/unique_fd.h"

namespace nodecomm {
namespace {

constexpr char kUnfinished[] = ".new";

// Empty: that cannot be told.
std::string RoomBeside(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  struct statvfs info = {};
  if (statvfs(directory.c_str(), &info) != 0) return "";
  return absl::StrFormat(" (of its file system %d of %d bytes are free, and %d of %d files)",
                         uint64_t{info.f_bavail} * info.f_frsize,
                         uint64_t{info.f_blocks} * info.f_frsize, info.f_favail, info.f_files);
}

absl::Status WriteAll(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return WriteErrorToStatus(errno, "writing", path);
    text.remove_prefix(static_cast<size_t>(put));
  }
  return absl::OkStatus();
}

absl::Status WriteNewFile(const std::string& path, std::string_view text, Readers readers) {
  unlink(path.c_str());  // of a daemon that was killed while it wrote
  const UniqueFd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR));
  if (!file.valid()) return WriteErrorToStatus(errno, absl::StrCat("creating ", path), path);
  absl::Status written = WriteAll(file.get(), text, path);
  // Explicitly: the umask would have its say in open().
  if (written.ok() && readers == Readers::kEverybody &&
      fchmod(file.get(), S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH) != 0) {
    written = absl::ErrnoToStatus(errno, "letting others read it");
  }
  if (written.ok()) return written;
  unlink(path.c_str());
  return absl::Status(written.code(), absl::StrCat(path, ": ", written.message()));
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t bytes_max, Links links) {
  const int no_links = links == Links::kRefused ? O_NOFOLLOW : 0;
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | no_links));
  if (!file.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
  // A pipe to which nobody writes at this moment reads as an empty file.
  struct stat info = {};
  const bool known = fstat(file.get(), &info) == 0;
  if (known && S_ISFIFO(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is a pipe, not a file"));
  }
  if (known && S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is a directory, not a file"));
  }
  std::string text(bytes_max + 1, '\0');
  size_t length = 0;
  while (length < text.size()) {
    const ssize_t got = read(file.get(), text.data() + length, text.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, absl::StrCat("reading ", path));
    if (got == 0) break;
    length += static_cast<size_t>(got);
  }
  if (length > bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s is longer than %d bytes", path, bytes_max));
  }
  text.resize(length);
  return text;
}

std::string RemoveOrSetAside(const std::string& path) {
  if (unlink(path.c_str()) == 0 || rmdir(path.c_str()) == 0) return "is removed";
  const std::string aside = absl::StrCat(path, ".set-aside");
  if (rename(path.c_str(), aside.c_str()) == 0) {
    return absl::StrFormat("is now %s; remove that", aside);
  }
  const absl::Status cause = absl::ErrnoToStatus(errno, "cannot be set aside");
  return absl::StrCat(std::string(cause.message()), "; remove it");
}

absl::Status ReplaceSmallFile(const std::string& path, std::string_view content, Readers readers) {
  const std::string fresh = absl::StrCat(path, kUnfinished);
  if (absl::Status written = WriteNewFile(fresh, content, readers); !written.ok()) return written;
  if (rename(fresh.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const int error = errno;
  unlink(fresh.c_str());
  return WriteErrorToStatus(error, absl::StrFormat("renaming %s to %s", fresh, path), path);
}

absl::Status WriteErrorToStatus(int error, const std::string& what, const std::string& path) {
  absl::Status status = absl::ErrnoToStatus(error, what);
  if (error != ENOSPC) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), RoomBeside(path)));
}

absl::StatusOr<std::vector<std::string>> ListSmallFiles(const std::string& dir,
                                                        std::string_view suffix, size_t count_max) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator it(dir, error);
  for (const std::filesystem::directory_iterator end;
       !error && it != end && names.size() < count_max; it.increment(error)) {
    std::string name = it->path().filename().string();
    if (!name.ends_with(suffix)) continue;
    name.resize(name.size() - suffix.size());
    names.push_back(std::move(name));
  }
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("listing ", dir));
  return names;
}

void RemoveUnfinished(const std::string& dir) {
  std::error_code error;
  std::filesystem::directory_iterator it(dir, error);
  for (const std::filesystem::directory_iterator end; !error && it != end; it.increment(error)) {
    const std::string path = it->path().string();
    if (path.ends_with(kUnfinished)) unlink(path.c_str());
  }
}

}  // namespace nodecomm
