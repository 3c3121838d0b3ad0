// What an observer is told of groups: each end once, with its reason, whatever way it came.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tests/daemon/group/group_fixture.h"

namespace nodecomm {
namespace {

using ::testing::HasSubstr;

class GroupNewsTest : public GroupTest {
 protected:
  GroupNewsTest() {
    options_.observer = [this](const GroupNews& news) {
      absl::MutexLock lock(&mu_);
      news_.push_back(news);
    };
    Restart();
  }
  ~GroupNewsTest() override { registry_ = nullptr; }  // before what it tells

  // All that was told, once there are `count` pieces; none twice.
  std::vector<GroupNews> Take(size_t count) {
    EXPECT_TRUE(Eventually([&] {
      absl::MutexLock lock(&mu_);
      return news_.size() >= count;
    }));
    absl::MutexLock lock(&mu_);
    EXPECT_EQ(news_.size(), count);
    return std::exchange(news_, {});
  }
  // The one piece of news, an end.
  void ExpectEnd(GroupPhase phase, GroupEnd end, const std::string& reason) {
    const std::vector<GroupNews> news = Take(1);
    if (news.empty()) return;
    EXPECT_EQ(news[0].what, GroupNews::What::kEnded);
    EXPECT_EQ(Word(news[0].phase), Word(phase));
    EXPECT_EQ(Word(news[0].end), Word(end));
    EXPECT_THAT(news[0].reason, HasSubstr(reason));
    EXPECT_EQ(news[0].name, "tp");
    EXPECT_EQ(news[0].uid, 1000u);
  }
  Formed Ready() {
    Formed formed = FormReady(2);
    Take(1);
    return formed;
  }

  absl::Mutex mu_;
  std::vector<GroupNews> news_ ABSL_GUARDED_BY(mu_);
};

TEST_F(GroupNewsTest, ReadyComesOnceWithTheTimeSinceTheFirstJoin) {
  JoinAnswer& first = Join(Request(0, 2));
  absl::SleepFor(absl::Milliseconds(20));  // what is to be seen in the age
  JoinAnswer& second = Join(Request(1, 2));
  const auto response = first.Wait();
  ASSERT_OK(response);
  second.Wait();
  ConfirmAnswer& confirmed = Confirm(response->generation(), 0);
  Confirm(response->generation(), 1).Wait();
  confirmed.Wait();
  const std::vector<GroupNews> news = Take(1);
  EXPECT_EQ(news[0].what, GroupNews::What::kReady);
  EXPECT_EQ(news[0].generation, response->generation());
  EXPECT_EQ(news[0].world_size, 2);
  EXPECT_GE(news[0].age, absl::Milliseconds(20));
  EXPECT_LT(news[0].age, kLong);
}

TEST_F(GroupNewsTest, LeavingIsAnEndOnceAllHaveLeft) {
  const Formed formed = Ready();
  EXPECT_OK(Leave(formed.generation, 0));
  EXPECT_OK(Leave(formed.generation, 1));
  ExpectEnd(GroupPhase::kReady, GroupEnd::kLeft, "");
}

TEST_F(GroupNewsTest, DeathIsToldOnceThoughTheSessionEndsToo) {
  Ready();
  registry_->SessionDied(CallerOf(1).session, "process 4001 has died");
  registry_->SessionEnded(CallerOf(1).session, "process 4001 has ended");
  registry_->SessionEnded(CallerOf(0).session, "process 4000 has ended");
  ExpectEnd(GroupPhase::kReady, GroupEnd::kMemberEnded, "process 4001 has died");
}

TEST_F(GroupNewsTest, EveryWayToAbortHasItsReason) {
  EXPECT_OK(Abort(Ready().generation, 0, "wrong sums"));
  ExpectEnd(GroupPhase::kReady, GroupEnd::kMemberAborted, "wrong sums");
  EXPECT_OK(registry_->AbortByAdmin(Ready().generation, "by hand"));
  ExpectEnd(GroupPhase::kReady, GroupEnd::kAdministrator, "by hand");
  Ready();
  registry_->GpuLost(Uuid(1), "Xid 79");
  ExpectEnd(GroupPhase::kReady, GroupEnd::kGpuLost, "Xid 79");
  Ready();
  registry_->AbortOnGpu(Uuid(1), "drained");
  ExpectEnd(GroupPhase::kReady, GroupEnd::kDrained, "drained");
  EXPECT_OK(Leave(FormMapping(2).generation, 1));
  ExpectEnd(GroupPhase::kMapping, GroupEnd::kMemberLeft, "left before");
  Ready();
  registry_->AbortAll("stopping");
  ExpectEnd(GroupPhase::kReady, GroupEnd::kDaemonStopping, "stopping");
}

TEST_F(GroupNewsTest, MappingThatTakesTooLongIsADeadline) {
  options_.mapping_timeout_min = options_.mapping_timeout_max = absl::Milliseconds(20);
  Restart();
  FormMapping(2);
  ExpectEnd(GroupPhase::kMapping, GroupEnd::kDeadline, "did not map");
}

TEST_F(GroupNewsTest, GroupsThatNeverFormHaveTheirReasonToo) {
  v1::JoinGroupRequest late = Request(0, 2);
  late.set_timeout_ms(20);
  Join(late).Wait();
  ExpectEnd(GroupPhase::kForming, GroupEnd::kDeadline, "rank 1 of 2 did not join");

  JoinAnswer& waits = Join(Request(0, 2));
  v1::JoinGroupRequest other = Request(1, 2);
  other.set_plane_abi(2);
  Join(other).Wait();
  waits.Wait();
  ExpectEnd(GroupPhase::kForming, GroupEnd::kDisagreement, "");

  JoinAnswer& alone = Join(Request(0, 2));
  registry_->SessionEnded(CallerOf(0).session, "process 4000 has ended");
  alone.Wait();
  ExpectEnd(GroupPhase::kForming, GroupEnd::kMemberEnded, "process 4000 has ended");
}

TEST_F(GroupNewsTest, MemoryThatCannotBeMadeIsAnEnd) {
  bytes_per_gpu_max_ = 2_MiB;
  Restart();
  JoinAnswer& first = Join(Request(0, 2));
  Join(Request(1, 2)).Wait();
  first.Wait();
  ExpectEnd(GroupPhase::kForming, GroupEnd::kNoMemory, "");
}

TEST_F(GroupNewsTest, WordsOfReasonsAreLabelsAndDiffer) {
  std::map<std::string_view, int> words;
  for (const GroupEnd end : kGroupEnds) ++words[Word(end)];
  EXPECT_EQ(words.size(), kGroupEnds.size());
  EXPECT_EQ(words.count("unknown"), 0u);
}

}  // namespace
}  // namespace nodecomm
