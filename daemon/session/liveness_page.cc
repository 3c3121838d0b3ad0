#include "daemon/session/liveness_page.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "proto/liveness_page.h"

namespace nodecomm {

absl::StatusOr<std::shared_ptr<LivenessPage>> LivenessPage::Create() {
  UniqueFd fd(memfd_create("nodecomm-liveness", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, "memfd_create of a liveness page");
  // Sealed: a page that the worker could truncate would kill the daemon by SIGBUS.
  if (ftruncate(fd.get(), kLivenessPageBytes) != 0 ||
      fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return absl::ErrnoToStatus(errno, "sizing and sealing a liveness page");
  }
  void* page = mmap(nullptr, kLivenessPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (page == MAP_FAILED) return absl::ErrnoToStatus(errno, "mapping a liveness page");
  return std::shared_ptr<LivenessPage>(
      new LivenessPage(std::move(fd), static_cast<uint32_t*>(page)));
}

LivenessPage::LivenessPage(UniqueFd fd, uint32_t* word) : fd_(std::move(fd)), word_(word) {}

bool LivenessPage::IsTouched() const { return lseek(fd_.get(), 0, SEEK_DATA) == 0; }

LivenessPage::~LivenessPage() { munmap(word_, kLivenessPageBytes); }

}  // namespace nodecomm
