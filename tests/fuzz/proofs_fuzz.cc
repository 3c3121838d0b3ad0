// Fuzzes the text of proofs: the cache of peer access, and what the probe says.

#include "daemon/proof/proof_cache.h"
#include "daemon/proof/proofs_text.h"
#include "tests/fuzz/check.h"

namespace nodecomm {
namespace {

void Run(const std::string& text) {
  const absl::StatusOr<v1::PeerProofs> proofs = ParseProofs(text);
  if (!proofs.ok()) return;
  const absl::StatusOr<v1::PeerProofs> again = ParseProofs(PrintProofs(*proofs));
  Require(again.ok() && again->proofs_size() == proofs->proofs_size(), "what is printed is read");
  v1::Host host;
  host.set_driver_version("580.0");
  for (const char* uuid : {"GPU-a", "GPU-b"}) host.add_gpus()->set_uuid(uuid);
  const v1::PeerProofs valid = StillValid(*proofs, "boot", host);
  Require(valid.proofs_size() <= 4, "a proof of each pair at most");
}

}  // namespace
}  // namespace nodecomm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nodecomm::Run(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
