// What a topology file's reader accepts, and what it says of what it does not.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "daemon/topology/inventory.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kValid[] = R"(gpus {
  uuid: "GPU-00000000-0000-0000-0000-00000000000a"
  pci_bus_id: "00000000:1a:00.0"
  numa_node: 0
}
gpus {
  uuid: "GPU-00000000-0000-0000-0000-00000000000b"
  pci_bus_id: "00000000:1b:00.0"
}
links {
  from_uuid: "GPU-00000000-0000-0000-0000-00000000000a"
  to_uuid: "GPU-00000000-0000-0000-0000-00000000000b"
  kind: LINK_KIND_NVLINK
  nvlink_count: 4
  peer_access: PEER_ACCESS_SUPPORTED
}
links {
  from_uuid: "GPU-00000000-0000-0000-0000-00000000000b"
  to_uuid: "GPU-00000000-0000-0000-0000-00000000000a"
  kind: LINK_KIND_NVLINK
  nvlink_count: 4
  peer_access: PEER_ACCESS_SUPPORTED
}
)";

class FileInventoryTest : public testing::Test {
 protected:
  ~FileInventoryTest() override { std::filesystem::remove(path_); }

  absl::Status Load(const std::string& text) {
    std::ofstream(path_) << text;
    return CreateFileInventory(path_).status();
  }

  // kValid with one place changed.
  absl::Status LoadWith(const std::string& what, const std::string& by) {
    std::string text = kValid;
    const size_t place = text.find(what);
    EXPECT_NE(place, std::string::npos) << what;
    return Load(text.replace(place, what.size(), by));
  }

  // The error for a fact at `line`, column included.
  auto ErrorAt(const std::string& place, const std::string& message) {
    return StatusIs(absl::StatusCode::kInvalidArgument,
                    AllOf(HasSubstr(absl::StrCat(path_, ":", place, ": ")), HasSubstr(message)));
  }

  const std::string path_ =
      absl::StrCat(testing::TempDir(),
                   testing::UnitTest::GetInstance()->current_test_info()->name(), ".textproto");
};

TEST_F(FileInventoryTest, ReadsTheFileAnewEachTime) {
  ASSERT_OK(Load(kValid));
  const auto inventory = CreateFileInventory(path_);
  ASSERT_OK(inventory);
  ASSERT_OK(Load(absl::StrReplaceAll(kValid, {{"1a:00.0", "1c:00.0"}})));
  const absl::StatusOr<v1::Host> host = (*inventory)->Read();
  ASSERT_OK(host);
  EXPECT_EQ(host->gpus(0).pci_bus_id(), "00000000:1c:00.0");
  ASSERT_OK(Load(kValid));
  std::ofstream(path_) << "nonsense";
  EXPECT_EQ((*inventory)->Read().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FileInventoryTest, ReadsWhatTheFileSays) {
  ASSERT_OK(Load(kValid));
  const auto inventory = CreateFileInventory(path_);
  ASSERT_OK(inventory);
  const absl::StatusOr<v1::Host> host = (*inventory)->Read();
  ASSERT_OK(host);
  ASSERT_EQ(host->gpus_size(), 2);
  EXPECT_EQ(host->gpus(0).pci_bus_id(), "00000000:1a:00.0");
  EXPECT_TRUE(host->gpus(0).has_numa_node());
  EXPECT_FALSE(host->gpus(1).has_numa_node());
  EXPECT_EQ(host->links(1).nvlink_count(), 4);
}

TEST_F(FileInventoryTest, NamesMissingFile) {
  EXPECT_THAT(CreateFileInventory("/nonexistent/host.textproto").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent/host.textproto")));
}

TEST_F(FileInventoryTest, RefusesDirectory) {
  EXPECT_THAT(CreateFileInventory(testing::TempDir()).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a directory")));
}

TEST_F(FileInventoryTest, RefusesFileThatIsFarTooLarge) {
  EXPECT_THAT(Load(std::string((1 << 20) + 1, '#')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("longer than")));
}

TEST_F(FileInventoryTest, NamesLineAndColumnOfUnknownField) {
  EXPECT_THAT(LoadWith("numa_node: 0", "numa_nod: 0"), ErrorAt("4:11", "\"numa_nod\""));
}

TEST_F(FileInventoryTest, QuotesTheLineOfBadValue) {
  EXPECT_THAT(LoadWith("numa_node: 0", "numa_node: \"no\""),
              ErrorAt("4:14", "(the line reads `numa_node: \"no\"`)"));
}

TEST_F(FileInventoryTest, NamesUnknownEnumValue) {
  EXPECT_THAT(LoadWith("LINK_KIND_NVLINK", "LINK_KIND_STRING"),
              ErrorAt("13:9", "for field \"kind\". (the line reads `kind: LINK_KIND_STRING`)"));
}

TEST_F(FileInventoryTest, NamesTheEndOfCutFile) {
  const std::string text = kValid;
  EXPECT_THAT(Load(text.substr(0, text.size() - 3)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path_)));
}

TEST_F(FileInventoryTest, RefusesWhatIsNoText) {
  std::string garbage;
  for (int i = 0; i < 1000; ++i) garbage += static_cast<char>(i * 37 % 256);
  for (const std::string& text : {garbage, std::string(kValid) + garbage,
                                  std::string("\x7f"
                                              "ELF\x02\x01"),
                                  std::string(100000, '{'), "gpus { " + std::string(1000, '<'),
                                  std::string("hostname: \"\xff\xfe\"")}) {
    EXPECT_THAT(Load(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path_)));
  }
}

TEST_F(FileInventoryTest, DoesNotWaitForAPipe) {
  std::filesystem::remove(path_);
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(CreateFileInventory(path_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a pipe")));
}

TEST_F(FileInventoryTest, RefusesHostWithoutGpus) { EXPECT_THAT(Load(""), ErrorAt("1:1", "gpus")); }

TEST_F(FileInventoryTest, RefusesMalformedUuid) {
  EXPECT_THAT(LoadWith("00000000000a", "00000000000"), ErrorAt("2:3", "gpus[0].uuid"));
  EXPECT_THAT(LoadWith("00000000000a", "00000000000g"), ErrorAt("2:3", "is no GPU UUID"));
  EXPECT_THAT(LoadWith("GPU-", "MIG-"), ErrorAt("2:3", "is no GPU UUID"));
}

TEST_F(FileInventoryTest, RefusesGpuWithoutUuidAtItsBrace) {
  EXPECT_THAT(Load("gpus {\n  name: \"x\"\n}\n"), ErrorAt("1:1", "gpus[0].uuid"));
}

TEST_F(FileInventoryTest, RefusesUuidTwice) {
  EXPECT_THAT(Load(absl::StrReplaceAll(kValid, {{"00000000000b", "00000000000a"}})),
              ErrorAt("7:3", "a second GPU with UUID"));
}

TEST_F(FileInventoryTest, RefusesPciBusIdTwice) {
  EXPECT_THAT(LoadWith("00000000:1b:00.0", "00000000:1a:00.0"),
              ErrorAt("8:3", "gpus[1].pci_bus_id"));
}

TEST_F(FileInventoryTest, RefusesNegativeNumaNode) {
  EXPECT_THAT(LoadWith("numa_node: 0", "numa_node: -1"), ErrorAt("4:3", "gpus[0].numa_node"));
}

TEST_F(FileInventoryTest, RefusesLinkToUnknownGpu) {
  EXPECT_THAT(LoadWith("to_uuid: \"GPU-0", "to_uuid: \"GPU-1"),
              ErrorAt("12:3", "links[0].to_uuid: no GPU"));
  EXPECT_THAT(LoadWith("from_uuid: \"GPU-0", "from_uuid: \"GPU-1"),
              ErrorAt("11:3", "links[0].from_uuid: no GPU"));
}

TEST_F(FileInventoryTest, RefusesLinkToItself) {
  EXPECT_THAT(LoadWith("to_uuid: \"GPU-00000000-0000-0000-0000-00000000000b",
                       "to_uuid: \"GPU-00000000-0000-0000-0000-00000000000a"),
              ErrorAt("12:3", "to itself"));
}

TEST_F(FileInventoryTest, RefusesOrderedPairTwice) {
  const std::string text = kValid;
  const std::string first_link =
      text.substr(text.find("links"), text.rfind("links") - text.find("links"));
  EXPECT_THAT(Load(text + first_link), ErrorAt("26:3", "a second link"));
}

TEST_F(FileInventoryTest, RefusesMissingPair) {
  const std::string text = kValid;
  EXPECT_THAT(Load(text.substr(0, text.rfind("links"))),
              ErrorAt("7:3", "links has no entry from GPU-00000000-0000-0000-0000-00000000000b"));
}

TEST_F(FileInventoryTest, RefusesLinkWithoutKindOrPeerAccess) {
  EXPECT_THAT(LoadWith("kind: LINK_KIND_NVLINK", ""), ErrorAt("10:1", "links[0].kind"));
  EXPECT_THAT(LoadWith("peer_access: PEER_ACCESS_SUPPORTED", ""),
              ErrorAt("10:1", "links[0].peer_access"));
}

TEST_F(FileInventoryTest, RefusesEnumNumbersThatMeanNothing) {
  EXPECT_THAT(LoadWith("LINK_KIND_NVLINK", "99"), ErrorAt("13:3", "links[0].kind"));
  EXPECT_THAT(LoadWith("numa_node: 0", "mig_mode: 99"), ErrorAt("4:3", "gpus[0].mig_mode"));
}

TEST_F(FileInventoryTest, RefusesImpossibleCounts) {
  EXPECT_THAT(LoadWith("nvlink_count: 4", "nvlink_count: -4"),
              ErrorAt("14:3", "links[0].nvlink_count"));
  EXPECT_THAT(LoadWith("LINK_KIND_NVLINK", "LINK_KIND_PCI"),
              ErrorAt("14:3", "must be 0 for LINK_KIND_PCI"));
}

TEST_F(FileInventoryTest, RefusesKindThatDiffersOnTheWayBack) {
  EXPECT_THAT(LoadWith("LINK_KIND_NVLINK", "LINK_KIND_NVSWITCH"),
              ErrorAt("13:3", "LINK_KIND_NVLINK back"));
}

TEST_F(FileInventoryTest, RefusesDistanceThatDiffersOnTheWayBack) {
  std::string text = kValid;
  text.replace(text.find("nvlink_count: 4"), 15, "pci_distance: PCI_DISTANCE_SYS");
  ASSERT_OK(Load(text));
  text.replace(text.find("nvlink_count: 4"), 15, "pci_distance: PCI_DISTANCE_PIX");
  EXPECT_THAT(Load(text), ErrorAt("14:3", "links[0].pci_distance"));
}

TEST_F(FileInventoryTest, AcceptsWhatIsUnknownInOneDirectionOnly) {
  EXPECT_OK(LoadWith("LINK_KIND_NVLINK", "LINK_KIND_UNKNOWN"));
  EXPECT_OK(LoadWith("PEER_ACCESS_SUPPORTED", "PEER_ACCESS_UNKNOWN"));
}

}  // namespace
}  // namespace nodecomm
