// nodecomm-probe on hardware, or with a driver, that is wrong in the way that NODECOMM_TEST_FAULT
// says: corrupt (one byte in all), lose (a packet), slow, stall, die, garbage or
// none.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "daemon/probe/run_probe.h"
#include "tests/daemon/probe/faulty_pair.h"

namespace nodecomm::probe {
namespace {

std::string Fault() {
  const char* fault = getenv("NODECOMM_TEST_FAULT");
  return fault == nullptr ? "none" : fault;
}

absl::StatusOr<std::unique_ptr<GpuPair>> MakeFaultyPair(const std::string& /*platform*/,
                                                        PairOptions options) {
  if (Fault() == "die") abort();
  while (Fault() == "stall") pause();
  if (Fault() == "slow") usleep(300'000);
  Faults faults;
  faults.loses_a_packet = Fault() == "lose";
  if (Fault() == "corrupt") faults.corrupt_byte = options.bytes.value / 3;
  return FaultyPair::Create(std::move(options), std::move(faults));
}

}  // namespace
}  // namespace nodecomm::probe

int main(int argc, char** argv) {
  if (nodecomm::probe::Fault() == "garbage") {
    puts("proofs { from_uuid: 7 } and so on");
    return 0;
  }
  return nodecomm::probe::RunProbe(argc, argv, nodecomm::probe::MakeFaultyPair);
}
