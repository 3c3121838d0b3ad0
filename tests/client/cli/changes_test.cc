#include "client/cli/changes.h"

#include "tests/client/cli/fake_admin.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

v1::ListGroupsResponse Groups() {
  v1::ListGroupsResponse groups;
  const auto add = [&](const char* name, uint64_t generation) {
    v1::GroupInfo* group = groups.add_groups();
    group->set_name(name);
    group->set_generation(generation);
  };
  add("tp", 11);
  add("twice", 12);
  add("twice", 13);
  add("14", 15);
  return groups;
}

TEST(FindGroupNamed, TakesGenerationsAndNamesThatAreAlone) {
  EXPECT_EQ(*FindGroupNamed(Groups(), "tp"), 11u);
  EXPECT_EQ(*FindGroupNamed(Groups(), "13"), 13u);
  EXPECT_EQ(*FindGroupNamed(Groups(), "14"), 15u) << "a name that looks like one";
  EXPECT_THAT(FindGroupNamed(Groups(), "none"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no group is named none")));
  EXPECT_THAT(FindGroupNamed(Groups(), "twice"), StatusIs(absl::StatusCode::kInvalidArgument,
                                                          AllOf(HasSubstr("12"), HasSubstr("13"))));
}

TEST(RenderUndrain, SaysWhatCameOfIt) {
  constexpr char kUuid[] = "GPU-51000000-0000-4000-8000-000000000000";
  v1::GetTopologyResponse topology;
  v1::Gpu* gpu = topology.mutable_host()->add_gpus();
  gpu->set_uuid(kUuid);
  EXPECT_EQ(RenderUndrain("0", kUuid, topology, true), "GPU 0 is back in service.\n");
  EXPECT_THAT(RenderUndrain("0", kUuid, topology, false), HasSubstr("Not all pairs"));
  gpu->set_condition(v1::GPU_CONDITION_DRAINING);
  EXPECT_THAT(RenderUndrain("0", kUuid, topology, true), HasSubstr("drained again"));
  gpu->set_condition(v1::GPU_CONDITION_LOST);
  gpu->set_condition_reason("Xid 79");
  EXPECT_EQ(RenderUndrain("0", kUuid, topology, true),
            "GPU 0 is drained no more, but it is lost: Xid 79\n");
}

TEST(RenderDrain, SaysWhatIsStillThere) {
  v1::DrainGpuResponse answer;
  EXPECT_EQ(RenderDrain("1", DrainedGroups::kAwaited, answer),
            "GPU 1 is draining: its memory is being released.\n");
  answer.add_groups("tp (generation 11)");
  EXPECT_EQ(RenderDrain("1", DrainedGroups::kAwaited, answer),
            "GPU 1 is draining; these groups are still on it (--abort ends them):\n"
            "  tp (generation 11)\n");
  EXPECT_EQ(RenderDrain("1", DrainedGroups::kAborted, answer),
            "GPU 1 is draining; these groups were told to end, and hold it until their processes "
            "do:\n  tp (generation 11)\n");
  answer.set_groups(0, "\x1b[2J\u009b2J (generation 12)");
  EXPECT_THAT(RenderDrain("1", DrainedGroups::kAwaited, answer),
              HasSubstr("\n  \\x1b[2J\\u009b2J (generation 12)\n"));
  answer.clear_groups();
  answer.set_drained(true);
  EXPECT_EQ(RenderDrain("1", DrainedGroups::kAwaited, answer),
            "GPU 1 is drained: no process of nodecommd holds it.\n");
  answer.set_note("and more");
  EXPECT_THAT(RenderDrain("1", DrainedGroups::kAwaited, answer),
              HasSubstr("holds it.\nand more\n"));
}

TEST(DrainGpu, AsksUntilItIsDrained) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers;
  answers.drained_after = 3;
  FakeAdmin admin(dir, answers);
  const auto client = AdminClient::Connect(dir.path());
  ASSERT_OK(client);
  v1::DrainGpuRequest request;
  request.set_gpu_uuid("GPU-a");
  const auto answer = DrainGpu(**client, request, absl::Seconds(20));
  ASSERT_OK(answer);
  ASSERT_TRUE(answer->has_value());
  EXPECT_TRUE((*answer)->drained());
  EXPECT_EQ(admin.drains(), 3);
}

TEST(DrainGpu, GivesTheLastAnswerWhenTimeIsUp) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers;
  answers.drained_after = 1000;
  FakeAdmin admin(dir, answers);
  const auto client = AdminClient::Connect(dir.path());
  ASSERT_OK(client);
  const auto answer = DrainGpu(**client, v1::DrainGpuRequest(), absl::ZeroDuration());
  ASSERT_OK(answer);
  ASSERT_TRUE(answer->has_value());
  EXPECT_FALSE((*answer)->drained());
  EXPECT_EQ(admin.drains(), 1);
}

}  // namespace
}  // namespace nodecomm
