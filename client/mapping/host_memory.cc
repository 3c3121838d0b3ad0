#include "client/mapping/host_memory.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/str_format.h"

namespace nodecomm {
namespace {

void Unmap(std::byte* data, ByteCount bytes) { munmap(data, bytes.value); }

absl::StatusOr<Mapping> MapFile(const UniqueFd& fd, ByteCount bytes, int protection) {
  struct stat file = {};
  if (fstat(fd.get(), &file) != 0) return absl::ErrnoToStatus(errno, "fstat of shared memory");
  if (static_cast<size_t>(file.st_size) < bytes.value) {
    return absl::InternalError(
        absl::StrFormat("the daemon sent shared memory of %d bytes where %d were agreed",
                        file.st_size, bytes.value));
  }
  void* data = mmap(nullptr, bytes.value, protection, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) {
    return absl::ErrnoToStatus(errno,
                               absl::StrFormat("mmap of %d bytes of shared memory", bytes.value));
  }
  return Mapping(static_cast<std::byte*>(data), bytes, &Unmap);
}

}  // namespace

absl::StatusOr<Mapping> MapFileReadWrite(const UniqueFd& fd, ByteCount bytes) {
  return MapFile(fd, bytes, PROT_READ | PROT_WRITE);
}

absl::StatusOr<Mapping> MapFileReadOnly(const UniqueFd& fd, ByteCount bytes) {
  return MapFile(fd, bytes, PROT_READ);
}

}  // namespace nodecomm
