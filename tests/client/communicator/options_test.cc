#include "client/communicator/options.h"

#include <cstdlib>

#include "tests/support/status_matchers.h"

namespace nodecomm::client {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

CommunicatorOptions Good() {
  CommunicatorOptions options;
  options.name = "model";
  options.world_size = {4};
  options.rank = {3};
  options.runtime_dir = "/run/nodecomm";
  return options;
}

auto Mistake(const char* text) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
}

TEST(CommunicatorOptions, GoodOnesPass) { EXPECT_OK(Validate(Good())); }

TEST(CommunicatorOptions, NameHasOneTo128Bytes) {
  CommunicatorOptions options = Good();
  options.name = "";
  EXPECT_THAT(Validate(options), Mistake("name of the group has 0 bytes"));
  options.name = std::string(128, 'x');
  EXPECT_OK(Validate(options));
  options.name += 'x';
  EXPECT_THAT(Validate(options), Mistake("129"));
}

TEST(CommunicatorOptions, NameIsText) {
  CommunicatorOptions options = Good();
  options.name = "caf\xe9";
  EXPECT_THAT(Validate(options), Mistake("not UTF-8"));
  options.name = "caf\xc3\xa9";
  EXPECT_OK(Validate(options));
}

TEST(CommunicatorOptions, RuntimeDirectoryStaysWhereItIs) {
  CommunicatorOptions options = Good();
  options.runtime_dir = "nodecomm";
  EXPECT_THAT(Validate(options), Mistake("\"nodecomm\" is no absolute path"));
}

TEST(CommunicatorOptions, RankIsOneOfTheWorld) {
  CommunicatorOptions options = Good();
  options.rank = {4};
  EXPECT_THAT(Validate(options), Mistake("rank 4 is out of range: the group has ranks 0 to 3"));
  options.rank = {-1};
  EXPECT_THAT(Validate(options), Mistake("rank -1"));
  options.world_size = {0};
  EXPECT_THAT(Validate(options), Mistake("world_size is 0"));
}

TEST(CommunicatorOptions, PlaneIsTheDefaultOrNotTooSmall) {
  CommunicatorOptions options = Good();
  options.plane_bytes = {(2 << 20) - 1};
  EXPECT_THAT(Validate(options), Mistake("plane_bytes is 2097151"));
  options.plane_bytes = {2 << 20};
  EXPECT_OK(Validate(options));
}

TEST(CommunicatorOptions, CopyIsNoChoice) {
  CommunicatorOptions options = Good();
  options.algorithm = kernels::Algorithm::kCopy;
  EXPECT_THAT(Validate(options), Mistake("copy"));
}

TEST(CommunicatorOptions, NumbersOutOfRangeAreMistakes) {
  CommunicatorOptions options = Good();
  options.device = {-1};
  EXPECT_THAT(Validate(options), Mistake("device is -1"));
  options = Good();
  options.rendezvous_timeout = absl::Milliseconds(-1);
  EXPECT_THAT(Validate(options), Mistake("rendezvous timeout is -1ms"));
  for (const absl::Duration forever : {absl::InfiniteDuration(), absl::Hours(25)}) {
    options = Good();
    options.rendezvous_timeout = forever;
    EXPECT_THAT(Validate(options), Mistake("give 0 to 24h"));
    options = Good();
    options.call_timeout = forever;
    EXPECT_THAT(Validate(options), Mistake("give 0 to 24h"));
  }
}

TEST(CommunicatorOptions, RuntimeDirIsTheCallersThenTheEnvironmentsThenTheDefault) {
  ASSERT_EQ(unsetenv("NODECOMM_RUNTIME_DIR"), 0);
  EXPECT_EQ(RuntimeDir(nullptr), "/run/nodecomm");
  ASSERT_EQ(setenv("NODECOMM_RUNTIME_DIR", "/env", 1), 0);
  EXPECT_EQ(RuntimeDir(nullptr), "/env");
  EXPECT_EQ(RuntimeDir("/mine"), "/mine");
  ASSERT_EQ(unsetenv("NODECOMM_RUNTIME_DIR"), 0);
}

void ExpectOffUnlessSet(const char* variable, bool (*is_on)()) {
  ASSERT_EQ(unsetenv(variable), 0);
  EXPECT_FALSE(is_on());
  for (const char* off : {"", "0"}) {
    ASSERT_EQ(setenv(variable, off, 1), 0);
    EXPECT_FALSE(is_on());
  }
  ASSERT_EQ(setenv(variable, "1", 1), 0);
  EXPECT_TRUE(is_on());
  ASSERT_EQ(unsetenv(variable), 0);
}

TEST(CommunicatorOptions, DisableIsOffUnlessSet) {
  ExpectOffUnlessSet("NODECOMM_DISABLE", &DisabledByEnvironment);
}

TEST(CommunicatorOptions, CheckedIsOffUnlessSet) {
  ExpectOffUnlessSet("NODECOMM_CHECKED", &CheckedByEnvironment);
}

// As nodecomm.h states it.
TEST(CommunicatorOptions, CallsMayTakeThirtySecondsByDefault) {
  EXPECT_EQ(CommunicatorOptions{}.call_timeout, absl::Seconds(30));
}

}  // namespace
}  // namespace nodecomm::client
