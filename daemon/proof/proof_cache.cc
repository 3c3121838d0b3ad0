#include "daemon/proof/proof_cache.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/base/status_macros.h"
#include "daemon/files/small_file.h"
#include "daemon/proof/proofs_text.h"

namespace nodecomm {
namespace {

constexpr size_t kCacheBytesMax = 4 << 20;
constexpr size_t kBootIdBytesMax = 64;
constexpr char kBootIdPath[] = "/proc/sys/kernel/random/boot_id";

}  // namespace

absl::StatusOr<std::string> ReadBootId() {
  ABSL_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(kBootIdPath, kBootIdBytesMax));
  return std::string(absl::StripSuffix(text, "\n"));
}

absl::StatusOr<v1::PeerProofs> ReadProofCache(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kCacheBytesMax));
  absl::StatusOr<v1::PeerProofs> proofs = ParseProofs(text);
  if (!proofs.ok() || proofs->boot_id().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is damaged: ", proofs.ok() ? "no boot_id" : proofs.status().message()));
  }
  return proofs;
}

absl::Status WriteProofCache(const std::string& path, const v1::PeerProofs& proofs) {
  return ReplaceSmallFile(path, PrintProofs(proofs));
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
