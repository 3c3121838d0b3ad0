#include "daemon/proof/proof_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "client/base/status_macros.h"
#include "client/base/unique_fd.h"
#include "daemon/proof/proofs_text.h"

namespace nodecomm {
namespace {

constexpr size_t kCacheBytesMax = 4 << 20;
constexpr size_t kBootIdBytesMax = 64;
constexpr char kBootIdPath[] = "/proc/sys/kernel/random/boot_id";

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t bytes_max) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
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

absl::Status WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return absl::ErrnoToStatus(errno, "writing");
    text.remove_prefix(static_cast<size_t>(put));
  }
  return fsync(fd) == 0 ? absl::OkStatus() : absl::ErrnoToStatus(errno, "fsync");
}

absl::Status WriteNewFile(const std::string& path, std::string_view text) {
  unlink(path.c_str());  // of a daemon that was killed while it wrote
  const UniqueFd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR));
  if (!file.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("creating ", path));
  absl::Status written = WriteAll(file.get(), text);
  if (!written.ok()) unlink(path.c_str());
  return written;
}

}  // namespace

absl::StatusOr<std::string> ReadBootId() {
  ABSL_ASSIGN_OR_RETURN(const std::string text, ReadFile(kBootIdPath, kBootIdBytesMax));
  return std::string(absl::StripSuffix(text, "\n"));
}

absl::StatusOr<v1::PeerProofs> ReadProofCache(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kCacheBytesMax));
  absl::StatusOr<v1::PeerProofs> proofs = ParseProofs(text);
  if (!proofs.ok() || proofs->boot_id().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is damaged: ", proofs.ok() ? "no boot_id" : proofs.status().message()));
  }
  return proofs;
}

absl::Status WriteProofCache(const std::string& path, const v1::PeerProofs& proofs) {
  const std::string fresh = absl::StrCat(path, ".new");
  ABSL_RETURN_IF_ERROR(WriteNewFile(fresh, PrintProofs(proofs)));
  if (rename(fresh.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const int error = errno;
  unlink(fresh.c_str());
  return absl::ErrnoToStatus(error, absl::StrFormat("renaming %s to %s", fresh, path));
}

v1::PeerProofs StillValid(const v1::PeerProofs& cached, const std::string& boot_id,
                          const v1::Host& host) {
  v1::PeerProofs valid;
  valid.set_boot_id(boot_id);
  valid.set_driver_version(host.driver_version());
  if (cached.boot_id() != boot_id || cached.driver_version() != host.driver_version()) {
    return valid;
  }
  std::set<std::string> gpus;
  for (const v1::Gpu& gpu : host.gpus()) gpus.insert(gpu.uuid());
  std::set<std::pair<std::string, std::string>> seen;
  for (const v1::PeerProof& proof : cached.proofs()) {
    const bool says_something =
        proof.verdict() == v1::PROOF_VERDICT_PROVEN || proof.verdict() == v1::PROOF_VERDICT_FAILED;
    if (!says_something || !gpus.contains(proof.from_uuid()) || !gpus.contains(proof.to_uuid())) {
      continue;
    }
    if (!seen.emplace(proof.from_uuid(), proof.to_uuid()).second) continue;
    *valid.add_proofs() = proof;
  }
  return valid;
}

}  // namespace nodecomm
