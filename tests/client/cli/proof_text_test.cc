// Proofs, pairs, names, colours and dumps: what people and files get to see.
#include "client/cli/proof_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/colour.h"
#include "client/cli/host_dump.h"
#include "client/cli/topology_text.h"
#include "client/cli/topology_words.h"
#include "daemon/topology/inventory.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::GetTopologyResponse TwoGpus() {
  v1::GetTopologyResponse topology;
  v1::Host* host = topology.mutable_host();
  for (const char* uuid : {"GPU-aaaa1111", "GPU-aaaa2222"}) host->add_gpus()->set_uuid(uuid);
  host->mutable_gpus(0)->set_pci_bus_id("00000000:1B:00.0");
  host->mutable_gpus(1)->set_pci_bus_id("00000000:43:00.0");
  for (const auto& [from, to] : {std::pair(0, 1), std::pair(1, 0)}) {
    v1::Link* link = host->add_links();
    link->set_from_uuid(host->gpus(from).uuid());
    link->set_to_uuid(host->gpus(to).uuid());
    link->set_kind(v1::LINK_KIND_NVSWITCH);
    link->set_nvlink_count(18);
    link->set_peer_access(v1::PEER_ACCESS_SUPPORTED);
    link->set_pci_distance(v1::PCI_DISTANCE_SYS);
  }
  return topology;
}

v1::PeerProof& AddProof(v1::GetTopologyResponse& topology, int from, int to,
                        v1::ProofVerdict verdict) {
  v1::PeerProof& proof = *topology.add_proofs();
  proof.set_from_uuid(topology.host().gpus(from).uuid());
  proof.set_to_uuid(topology.host().gpus(to).uuid());
  proof.set_verdict(verdict);
  return proof;
}

v1::GetTopologyResponse OneProvenOneBroken() {
  v1::GetTopologyResponse topology = TwoGpus();
  v1::PeerProof& proven = AddProof(topology, 0, 1, v1::PROOF_VERDICT_PROVEN);
  proven.set_bytes_checked(64 << 20);
  proven.set_write_gigabytes_per_second(353.94);
  proven.set_read_gigabytes_per_second(322.6);
  proven.set_round_trip_ns(1480);
  proven.set_unix_time_ms(1795509217000);
  AddProof(topology, 1, 0, v1::PROOF_VERDICT_FAILED).set_reason("byte 17 \033[2J was wrong");
  return topology;
}

TEST(Measurements, OfASimulatedHostSayThatTheyAreNotOfGpus) {
  v1::GetTopologyResponse topology = TwoGpus();
  EXPECT_EQ(RenderMeasurements(topology), "");
  AddProof(topology, 0, 1, v1::PROOF_VERDICT_PROVEN).set_write_gigabytes_per_second(350);
  EXPECT_THAT(RenderMeasurements(topology),
              AllOf(HasSubstr("Measured, write GB/s"), HasSubstr("350")));
  topology.set_simulated(true);
  EXPECT_THAT(RenderMeasurements(topology), HasSubstr("not on GPUs, write GB/s"));
}

TEST(RenderProofs, HasALineAPair) {
  EXPECT_EQ(RenderProofs(OneProvenOneBroken()),
            "From  To    Verdict  Checked  Write GB/s  Read GB/s  Round trip us  Measured       "
            "       Reason\n"
            "GPU0  GPU1  proven   64 MiB   353.9       322.6      1.48           "
            "2026-11-24T08:33:37Z\n"
            "GPU1  GPU0  FAILED   0        N/A         N/A        N/A            N/A            "
            "       byte 17 \\x1b[2J was wrong\n");
}

TEST(RenderProofs, NamesPairsThatWereNotTried) {
  EXPECT_THAT(RenderProofs(TwoGpus()), HasSubstr("not tried"));
}

TEST(RenderProofs, SaysThatTheDriverIsTrusted) {
  v1::GetTopologyResponse topology = TwoGpus();
  EXPECT_THAT(RenderProofs(topology), Not(HasSubstr("trusted")));
  topology.set_driver_trusted(true);
  EXPECT_THAT(RenderProofs(topology), HasSubstr("trust_driver"));
}

TEST(RenderProofs, HasNothingToSayOfOneGpu) {
  v1::GetTopologyResponse topology;
  topology.mutable_host()->add_gpus()->set_uuid("GPU-a");
  EXPECT_EQ(RenderProofs(topology), "No pairs of GPUs.\n");
}

TEST(RenderTopology, MarksWhatIsBrokenAndWhatIsNotProven) {
  v1::GetTopologyResponse topology = OneProvenOneBroken();
  EXPECT_THAT(RenderTopology(topology),
              AllOf(HasSubstr("GPU0   X     NV18  "), HasSubstr("GPU1  NV18!   X"),
                    HasSubstr("tried and is broken"), HasSubstr("GPU0  X     353.9"),
                    HasSubstr("GPU0  X     1.48")));
  topology.mutable_proofs(1)->set_verdict(v1::PROOF_VERDICT_UNPROVEN);
  EXPECT_THAT(RenderTopology(topology), HasSubstr("GPU1  NV18~   X"));
}

TEST(RenderTopology, ShowsColumnsOnlyWhereSomethingIsKnown) {
  v1::GetTopologyResponse topology = TwoGpus();
  EXPECT_THAT(RenderTopology(topology),
              AllOf(Not(HasSubstr("ECC")), Not(HasSubstr("Clique")), Not(HasSubstr("Condition"))));
  topology.mutable_host()->mutable_gpus(1)->set_ecc_mode(v1::ECC_MODE_ENABLED);
  topology.mutable_host()->mutable_gpus(1)->set_fabric_clique(7);
  topology.mutable_host()->mutable_gpus(1)->set_condition(v1::GPU_CONDITION_LOST);
  topology.mutable_host()->mutable_gpus(1)->set_condition_reason("Xid 79");
  EXPECT_THAT(RenderTopology(topology),
              AllOf(HasSubstr("ECC  Clique  Condition"), HasSubstr("on   7       lost: Xid 79")));
}

TEST(RenderPair, HasEveryFactAndTheVerdict) {
  v1::GetTopologyResponse topology = OneProvenOneBroken();
  v1::PeerCapability* capability = topology.mutable_host()->mutable_links(0)->add_capabilities();
  capability->set_name("read");
  capability->set_access(v1::PEER_ACCESS_UNKNOWN);
  capability->set_reason("NVML_ERROR_UNKNOWN");
  v1::FastPath fast_path;
  fast_path.set_reason(v1::FAST_PATH_REASON_PROOF_FAILED);
  fast_path.set_detail("No fast path: broken. Use NCCL for this group.");
  const std::string text = RenderPair(topology, 0, 1, fast_path);
  for (const char* part :
       {"GPU-aaaa1111", "00000000:43:00.0", "GPU0 -> GPU1", "GPU1 -> GPU0", "NVSwitch, 18 links",
        "SYS", "read", "unknown, NVML_ERROR_UNKNOWN", "64 MiB", "353.9", "322.6", "1.48",
        "2026-11-24T08:33:37Z", "FAILED: byte 17 \\x1b[2J was wrong",
        "Fast path: no (FAST_PATH_REASON_PROOF_FAILED)", "Use NCCL"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  fast_path.set_supported(true);
  EXPECT_THAT(RenderPair(topology, 1, 0, fast_path), HasSubstr("Fast path: yes"));
}

TEST(FindGpuNamed, TakesIndexUuidBeginningAndBusId) {
  const v1::Host host = TwoGpus().host();
  EXPECT_EQ(FindGpuNamed(host, "1").value_or(-1), 1);
  EXPECT_EQ(FindGpuNamed(host, "GPU-aaaa2222").value_or(-1), 1);
  EXPECT_EQ(FindGpuNamed(host, "gpu-AAAA1").value_or(-1), 0);
  EXPECT_EQ(FindGpuNamed(host, "aaaa2").value_or(-1), 1);
  EXPECT_EQ(FindGpuNamed(host, "00000000:43:00.0").value_or(-1), 1);
}

TEST(FindGpuNamed, TakesEveryFormThatOperatorsHaveAtHand) {
  v1::Host host = TwoGpus().host();
  for (const char* name : {"00000000:43:00.0", "0000:43:00.0", "43:00.0", "0:43:0.0", "43:00",
                           "0000:43:00", "GPU1", "gpu1", "01"}) {
    EXPECT_EQ(FindGpuNamed(host, name).value_or(-1), 1) << name;
  }
  host.mutable_gpus(1)->set_pci_bus_id("00000001:C3:00.0");
  for (const char* name : {"00000001:c3:00.0", "0001:C3:00.0", "1:c3:00.0"}) {
    EXPECT_EQ(FindGpuNamed(host, name).value_or(-1), 1) << name;
  }
  for (const char* name :
       {"c3:00.0", "0000:c3:00.0", "1:c3:01.0", "1:c3:00.1", "1:c3", "1:c3:00.0.0", "c3", ":",
        "1:c3:.0", "x:c3:00.0", "0:1:c3:00.0", "GPU", "GPU2", "GPU+1"}) {
    EXPECT_THAT(FindGpuNamed(host, name), StatusIs(absl::StatusCode::kInvalidArgument)) << name;
  }
}

// The host's GPU of that index may have been taken out.
TEST(FindGpuNamed, AnIndexThatIsNotThereIsNoBeginningOfAUuid) {
  v1::Host host = TwoGpus().host();
  host.mutable_gpus(0)->set_uuid("GPU-22222222-0000-4000-8000-000000000000");
  EXPECT_THAT(FindGpuNamed(host, "2"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no GPU")));
  EXPECT_EQ(FindGpuNamed(host, "2222").value_or(-1), 0);
  EXPECT_EQ(FindGpuNamed(host, "GPU-2").value_or(-1), 0);
}

TEST(FindGpuNamed, ListsWhatThereIs) {
  const v1::Host host = TwoGpus().host();
  for (const char* name : {"2", "-1", "", "GPU-b", "\033[2J"}) {
    EXPECT_THAT(FindGpuNamed(host, name),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("no GPU"), HasSubstr("GPU-aaaa2222"))))
        << name;
  }
  EXPECT_THAT(FindGpuNamed(host, "GPU-aaaa"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than one")));
}

TEST(WithColour, ColoursWordsAndNothingElse) {
  EXPECT_EQ(WithColour("GPU0  NV18  NV4!\n  PIX~  yes"),
            "GPU0  \033[32mNV18\033[0m  \033[31mNV4!\033[0m\n  \033[33mPIX~\033[0m  "
            "\033[32myes\033[0m");
  EXPECT_EQ(WithColour(""), "");
  EXPECT_EQ(WithColour(" \n "), " \n ");
}

// Every host that is shipped, dumped and read back.
TEST(DumpHost, IsAFileThatCanBeSimulated) {
  const TemporaryDirectory directory;
  const std::string copy = directory.path() + "/copy.textproto";
  int hosts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(NODECOMM_TOPOLOGY_DIR)) {
    if (entry.path().extension() != ".textproto") continue;
    ++hosts;
    const auto original = CreateFileInventory(entry.path());
    ASSERT_OK(original);
    std::ofstream(copy) << DumpHost((*original)->Read().value());
    const auto read = CreateFileInventory(copy);
    ASSERT_OK(read);
    EXPECT_EQ((*read)->Read()->SerializeAsString(), (*original)->Read()->SerializeAsString());
  }
  EXPECT_GE(hosts, 5);
}

TEST(DumpHost, WritesWhatIsNotKnownAsUnknown) {
  v1::Host host = TwoGpus().host();
  host.mutable_links(0)->clear_kind();
  EXPECT_THAT(DumpHost(host),
              AllOf(HasSubstr("# proto-message: nodecomm.v1.Host\n"),
                    HasSubstr("mig_mode: MIG_MODE_UNKNOWN"), HasSubstr("kind: LINK_KIND_UNKNOWN")));
}

}  // namespace
}  // namespace nodecomm
