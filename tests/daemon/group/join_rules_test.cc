#include "daemon/group/join_rules.h"

#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

v1::Host HostWithGpus(int count) {
  v1::Host host;
  for (int i = 0; i < count; ++i) host.add_gpus()->set_uuid("GPU-" + std::to_string(i));
  return host;
}

v1::JoinGroupRequest GoodRequest(int rank = 0) {
  v1::JoinGroupRequest request;
  request.set_name("tp");
  request.set_world_size(2);
  request.set_rank(rank);
  request.set_gpu_uuid("GPU-" + std::to_string(rank));
  request.set_plane_bytes((4_MiB).value);
  return request;
}

absl::Status Check(const v1::JoinGroupRequest& request,
                   GpuSharing sharing = GpuSharing::kForbidden) {
  return CheckJoin(request, HostWithGpus(2), sharing);
}

TEST(CheckJoin, AcceptsWhatIsRight) {
  EXPECT_OK(Check(GoodRequest()));
  v1::JoinGroupRequest with_key = GoodRequest(1);
  with_key.set_key(std::string(16, '\0'));
  with_key.set_name(std::string(128, 'n'));
  EXPECT_OK(Check(with_key));
}

TEST(CheckJoin, NameHasOneTo128Bytes) {
  v1::JoinGroupRequest request = GoodRequest();
  request.set_name("");
  EXPECT_THAT(Check(request), StatusIs(kInvalid, HasSubstr("1 to 128 bytes, not 0")));
  request.set_name(std::string(129, 'n'));
  EXPECT_THAT(Check(request), StatusIs(kInvalid, HasSubstr("not 129")));
}

TEST(CheckJoin, KeyHasZeroOr16Bytes) {
  v1::JoinGroupRequest request = GoodRequest();
  request.set_key("short");
  EXPECT_THAT(Check(request), StatusIs(kInvalid, HasSubstr("0 or 16 bytes, not 5")));
}

TEST(CheckJoin, WorldSizeIsPositive) {
  v1::JoinGroupRequest request = GoodRequest();
  request.set_world_size(0);
  EXPECT_THAT(Check(request), StatusIs(kInvalid, HasSubstr("world size of 0")));
}

TEST(CheckJoin, RankIsInRange) {
  v1::JoinGroupRequest request = GoodRequest();
  request.set_rank(2);
  EXPECT_THAT(Check(request), StatusIs(kInvalid, HasSubstr("rank 2 is out of range")));
  request.set_rank(-1);
  EXPECT_THAT(Check(request), StatusIs(kInvalid, HasSubstr("rank -1 is out of range")));
}

TEST(CheckJoin, GpuIsKnown) {
  v1::JoinGroupRequest request = GoodRequest();
  request.set_gpu_uuid("GPU-9");
  EXPECT_THAT(Check(request), StatusIs(kInvalid, HasSubstr("GPU 'GPU-9'")));
}

TEST(CheckJoin, PlaneIsAMultipleOf2MiB) {
  v1::JoinGroupRequest request = GoodRequest();
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{1} << 20, (uint64_t{3} << 20) + 1}) {
    request.set_plane_bytes(bytes);
    EXPECT_THAT(Check(request), StatusIs(kInvalid, HasSubstr("multiple of 2 MiB"))) << bytes;
  }
}

TEST(CheckJoin, AlgorithmNameIsBounded) {
  v1::JoinGroupRequest request = GoodRequest();
  request.set_algorithm_override(std::string(65, 'a'));
  EXPECT_THAT(Check(request), StatusIs(kInvalid, HasSubstr("at most 64 bytes")));
}

TEST(CheckJoin, PlaceOnThePciBusIsBounded) {
  v1::JoinGroupRequest request = GoodRequest();
  request.set_pci_bus_id("00000000:1b:00.0");
  EXPECT_OK(Check(request));
  request.set_pci_bus_id(std::string(33, '0'));
  EXPECT_THAT(Check(request), StatusIs(kInvalid, HasSubstr("at most 32 bytes, not 33")));
}

TEST(CheckJoin, MoreRanksThanGpusCannotBeOnOneHost) {
  v1::JoinGroupRequest request = GoodRequest();
  request.set_world_size(3);
  request.set_gpu_uuid("GPU-of-another-host");
  EXPECT_THAT(Check(request),
              StatusIs(kPrecondition,
                       "this host has 2 GPUs, so a group of 3 ranks cannot be all on it; use NCCL "
                       "across hosts"));
}

TEST(CheckJoin, SharingAllowsMoreRanksThanGpusUpToTheMost) {
  v1::JoinGroupRequest request = GoodRequest();
  request.set_world_size(8);
  EXPECT_OK(Check(request, GpuSharing::kAllowed));
  request.set_world_size(9);
  EXPECT_THAT(Check(request, GpuSharing::kAllowed),
              StatusIs(kPrecondition, HasSubstr("at most 8 ranks, not 9")));
}

TEST(CheckAgreement, AcceptsEqualRequests) {
  EXPECT_OK(CheckAgreement(GoodRequest(0), GoodRequest(1), GpuSharing::kForbidden));
}

struct Difference {
  const char* what;
  void (*apply)(v1::JoinGroupRequest&);
  const char* value_there;
  const char* value_new;
};

class Disagreement : public ::testing::TestWithParam<Difference> {};

TEST_P(Disagreement, NamesBothRanksAndBothValues) {
  v1::JoinGroupRequest newcomer = GoodRequest(1);
  GetParam().apply(newcomer);
  EXPECT_THAT(CheckAgreement(GoodRequest(0), newcomer, GpuSharing::kForbidden),
              StatusIs(kPrecondition,
                       AllOf(HasSubstr(GetParam().what), HasSubstr("group 'tp'"),
                             HasSubstr(std::string("rank 0 says ") + GetParam().value_there),
                             HasSubstr(std::string("rank 1 says ") + GetParam().value_new))));
}

INSTANTIATE_TEST_SUITE_P(
    EveryField, Disagreement,
    ::testing::Values(
        Difference{"world size", [](auto& request) { request.set_world_size(4); }, "2", "4"},
        Difference{"plane size", [](auto& request) { request.set_plane_bytes((6_MiB).value); },
                   "4194304", "6291456"},
        Difference{"plane layout", [](auto& request) { request.set_plane_abi(3); }, "0", "3"},
        Difference{"table of algorithms", [](auto& request) { request.set_algorithm_table(5); },
                   "0", "5"},
        Difference{"algorithm to use",
                   [](auto& request) { request.set_algorithm_override("two_shot"); }, "''",
                   "'two_shot'"},
        Difference{"checked mode", [](auto& request) { request.set_checked(true); }, "off", "on"}));

TEST(CheckAgreement, TwoRanksOnOneGpuOnlyIfSharingIsAllowed) {
  v1::JoinGroupRequest newcomer = GoodRequest(1);
  newcomer.set_gpu_uuid("GPU-0");
  EXPECT_THAT(
      CheckAgreement(GoodRequest(0), newcomer, GpuSharing::kForbidden),
      StatusIs(kPrecondition, HasSubstr("ranks 0 and 1 of group 'tp' are both on GPU GPU-0")));
  EXPECT_OK(CheckAgreement(GoodRequest(0), newcomer, GpuSharing::kAllowed));
}

TEST(RendezvousTimeout, ZeroIsTheDefaultAndTheRestIsBounded) {
  EXPECT_EQ(*RendezvousTimeout(0, absl::Seconds(7)), absl::Seconds(7));
  EXPECT_EQ(*RendezvousTimeout(1500, absl::Seconds(7)), absl::Milliseconds(1500));
  EXPECT_THAT(RendezvousTimeout(-1, absl::Seconds(7)), StatusIs(kInvalid, HasSubstr("-1 ms")));
  EXPECT_THAT(RendezvousTimeout(int64_t{1} << 62, absl::Seconds(7)), StatusIs(kInvalid));
}

}  // namespace
}  // namespace nodecomm
