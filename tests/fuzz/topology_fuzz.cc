// Fuzzes the description of a host, and the verdict on its GPUs: users send us such files.

#include "daemon/topology/fast_path.h"
#include "daemon/topology/inventory.h"
#include "tests/fuzz/check.h"

namespace nodecomm {
namespace {

void Judge(const v1::Host& host) {
  std::vector<std::string> uuids;
  for (const v1::Gpu& gpu : host.gpus()) uuids.push_back(gpu.uuid());
  if (uuids.size() > 8) uuids.resize(8);
  if (uuids.empty()) return;
  for (const bool trust_driver : {false, true}) {
    const v1::FastPath verdict =
        DecideFastPath(host, v1::PeerProofs(), uuids, {.trust_driver = trust_driver});
    Require(verdict.supported() == (verdict.reason() == v1::FAST_PATH_REASON_UNSPECIFIED),
            "a refusal has a reason");
    const bool may_be_proven = trust_driver || uuids.size() == 1;
    Require(may_be_proven || !verdict.supported(), "nothing is supported without a proof");
  }
}

}  // namespace
}  // namespace nodecomm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::StatusOr<nodecomm::v1::Host> host =
      nodecomm::ParseHost("host", std::string(reinterpret_cast<const char*>(data), size));
  if (host.ok()) nodecomm::Judge(*host);
  return 0;
}
