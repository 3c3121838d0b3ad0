// A rendezvous in which one thing fails, at every place where something can: memory, descriptors,
// space for files. Every question is answered with an error that says what ran out, nothing is
// held afterwards, and the next group forms.

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <cstddef>
#include <fstream>
#include <thread>

#include "daemon/process/open_fds.h"
#include "tests/daemon/group/group_fixture.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

int OpenFds() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

// Lowers the bound on descriptors so that `more` can be opened.
class FewDescriptors {
 public:
  explicit FewDescriptors(int more) {
    getrlimit(RLIMIT_NOFILE, &before_);
    // The lowest free number counts, not how many there are.
    const int next = fcntl(0, F_DUPFD_CLOEXEC, 0);
    close(next);
    rlimit few = before_;
    few.rlim_cur = static_cast<rlim_t>(next) + static_cast<rlim_t>(more);
    setrlimit(RLIMIT_NOFILE, &few);
  }
  ~FewDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

class GroupFault : public GroupTest {
 protected:
  // The life of a group, as far as it gets. True: to its end.
  bool LiveOnce() {
    std::vector<JoinAnswer*> joins;
    for (int rank = 0; rank < kRanks; ++rank) joins.push_back(&Join(Request(rank, kRanks)));
    std::vector<uint64_t> generations;
    for (JoinAnswer* join : joins) {
      const auto& answer = join->Wait();
      if (!answer.ok()) {
        EXPECT_TRUE(absl::IsResourceExhausted(answer.status())) << answer.status();
        continue;
      }
      generations.push_back(answer->generation());
      courier_.Take(answer->transfer_id());
    }
    if (generations.empty()) return false;
    EXPECT_EQ(generations.size(), static_cast<size_t>(kRanks)) << "some joined, others did not";
    const uint64_t generation = generations[0];
    std::vector<ConfirmAnswer*> confirms;
    for (int rank = 0; rank < kRanks; ++rank) confirms.push_back(&Confirm(generation, rank));
    for (ConfirmAnswer* confirm : confirms) EXPECT_OK(confirm->Wait());
    std::vector<SharedAnswer*> shareds;
    for (int rank = 0; rank < kRanks; ++rank) {
      shareds.push_back(&AllocateShared(generation, rank, 2_MiB));
    }
    int shared = 0;
    for (SharedAnswer* answer : shareds) {
      const auto& buffer = answer->Wait();
      if (buffer.ok()) {
        ++shared;
        courier_.Take(buffer->transfer_id());
      } else {
        EXPECT_TRUE(absl::IsResourceExhausted(buffer.status())) << buffer.status();
      }
    }
    EXPECT_TRUE(shared == 0 || shared == kRanks) << "some have the buffer, others do not";
    for (int rank = 0; rank < kRanks; ++rank) EXPECT_OK(Leave(generation, rank));
    return shared == kRanks;
  }

  // A group of one rank, on the first GPU.
  uint64_t FormOfAnotherUser(ByteCount plane_bytes) {
    v1::JoinGroupRequest request = Request(0, 1);
    request.set_plane_bytes(plane_bytes.value);
    const auto& joined = Join(request, AnotherUser()).Wait();
    EXPECT_OK(joined);
    return joined.ok() ? joined->generation() : 0;
  }
  static Caller AnotherUser() { return {.session = {99}, .uid = 1001, .pid = 4099}; }

  static constexpr int kRanks = 3;
};

TEST_F(GroupFault, MemoryThatRunsOutAtAnyRequestHarmsThatGroupAlone) {
  bool lived = false;
  int failures = 0;
  for (int request = 0; !lived; ++request) {
    ASSERT_LT(request, 100) << "it never gets to its end";
    source_.FailCalls(request, 1, absl::ResourceExhaustedError("the GPU is full"));
    lived = LiveOnce();
    failures += lived ? 0 : 1;
    source_.FailCalls(0, 0, absl::OkStatus());
    EXPECT_TRUE(NothingIsHeld()) << "after failure of request " << request;
    EXPECT_TRUE(LiveOnce()) << "after failure of request " << request;
  }
  EXPECT_EQ(failures, 2 * kRanks) << "a plane and a shared buffer for each rank";
}

TEST_F(GroupFault, DescriptorsThatRunOutAtAnyStepHarmThatGroupAlone) {
  ASSERT_TRUE(LiveOnce());
  const int before = OpenFds();
  bool lived = false;
  int failures = 0;
  for (int more = 0; !lived; ++more) {
    ASSERT_LT(more, 200) << "it never gets to its end";
    {
      const FewDescriptors few(more);
      lived = LiveOnce();
    }
    failures += lived ? 0 : 1;
    EXPECT_TRUE(NothingIsHeld()) << "with " << more << " descriptors";
    EXPECT_EQ(OpenFds(), before) << "with " << more << " descriptors";
    EXPECT_TRUE(LiveOnce()) << "after " << more << " descriptors";
  }
  EXPECT_GT(failures, 10) << "the bound was never felt";
}

// On a file system with room for a few files only, in a mount namespace that a thread of its own
// enters and the registry's threads inherit. A forked child would lack the threads, and might find
// locked what one of them held.
TEST_F(GroupFault, FullDiskFailsTheGroupAndEverythingWorksAgain) {
  bool may_mount = true;
  std::thread([&] {
    registry_ = nullptr;
    may_mount = unshare(CLONE_NEWNS) == 0 &&
                mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=64k") == 0;
    if (!may_mount) return;
    Restart();
    const uint64_t first = FormReady(1, "first").generation;
    const uint64_t of_another = FormOfAnotherUser(4_MiB);
    std::ofstream filler(dir_ + "/filler");
    filler << std::string(size_t{1} << 20, 'x');
    filler.close();
    EXPECT_FALSE(LiveOnce());
    EXPECT_THAT(Join(Request(0, 1)).Wait(),
                StatusIs(absl::StatusCode::kResourceExhausted,
                         AllOf(HasSubstr("No space left on device (of its file system 0 of 65536 "
                                         "bytes are free, and "),
                               HasSubstr("user 1000 has 2 groups, this one among them, and this "
                                         "daemon 3 in all"))));
    EXPECT_OK(Leave(first, 0));
    EXPECT_OK(Leave(of_another, 0, 0, AnotherUser()));
    std::filesystem::remove(dir_ + "/filler");
    EXPECT_TRUE(NothingIsHeld());
    EXPECT_TRUE(LiveOnce());
    EXPECT_TRUE(NothingIsHeld());
  }).join();
  if (!may_mount) GTEST_SKIP() << "not allowed to mount";
}

// A daemon that is killed and comes back while the disk is full: also a group that became ready
// when there was no room to say so in its record.
TEST_F(GroupFault, GroupsSurviveARestartOnAFullDisk) {
  bool may_mount = true;
  std::thread([&] {
    registry_ = nullptr;
    may_mount = unshare(CLONE_NEWNS) == 0 &&
                mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=64k") == 0;
    if (!may_mount) return;
    Restart();
    const Formed before = FormReady(2, "before");
    const Formed during = FormMapping(2, "during");
    {
      std::ofstream filler(dir_ + "/filler");
      filler << std::string(size_t{1} << 20, 'x');
    }
    for (int rank = 0; rank < 2; ++rank) Confirm(during.generation, rank);
    EXPECT_OK(confirms_.back()->Wait());
    options_.sessions = {CallerOf(0).session, CallerOf(1).session};
    Restart();  // as after a kill: the files are as they were
    const auto groups = registry_->List();
    EXPECT_EQ(groups.size(), 2u);
    for (const v1::GroupInfo& group : groups) EXPECT_EQ(group.state(), v1::GROUP_STATE_READY);
    const MappedPage page(during.page_fd(0));
    registry_->SessionDied(CallerOf(1).session, "process 4001 has died");
    EXPECT_NE(page->stop, 0u) << "a death is told also now";
    for (const uint64_t generation : {before.generation, during.generation}) {
      for (int rank = 0; rank < 2; ++rank) EXPECT_OK(Leave(generation, rank));
    }
    std::filesystem::remove(dir_ + "/filler");
    EXPECT_TRUE(NothingIsHeld());
  }).join();
  if (!may_mount) GTEST_SKIP() << "not allowed to mount";
}

TEST_F(GroupFault, LeaveThatCannotBeWrittenStopsTheOthers) {
  const Formed group = FormReady(2);
  const MappedPage page(group.page_fd(1));
  // Of the page, only what comes before the word of who left can be written.
  signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit few = before;
  few.rlim_cur = offsetof(ControlPage, left_mask);
  setrlimit(RLIMIT_FSIZE, &few);
  const absl::Status left = Leave(group.generation, 0);
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_THAT(left.message(), HasSubstr("writing the control page"));
  EXPECT_NE(page->stop, 0u) << "it would wait for rank 0 until its call times out";
  EXPECT_THAT(AllocateShared(group.generation, 1, 2_MiB).Wait(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("left, which its page does not")));
  EXPECT_OK(Leave(group.generation, 1));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupFault, ErrorsOfAFullPoolSayWhatTheCallerHoldsAndTheTotals) {
  bytes_per_gpu_max_ = 12_MiB;  // three planes
  Restart();
  FormReady(2, "first");
  FormReady(1, "second");
  FormOfAnotherUser(2_MiB);
  v1::JoinGroupRequest request = Request(0, 2);
  request.set_name("third");
  JoinAnswer& answer = Join(request);
  request.set_rank(1);
  request.set_gpu_uuid(Uuid(1));
  Join(request);
  EXPECT_THAT(answer.Wait(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "4194304 bytes asked for on GPU GPU-0, but 10485760 are in use and 0 ready "
                       "or being made, of at most 12582912; ask for less, end other groups, or "
                       "raise pool.bytes_per_gpu_max. User 1000 holds 8388608, 4194304 bytes on "
                       "the group's GPUs in rank order"));
}

TEST_F(GroupFault, ErrorsForWantOfDescriptorsSayWhatTheCallersGroupsHoldAndTheTotals) {
  FormReady(2, "first");  // two planes, and a page twice
  FormOfAnotherUser(4_MiB);
  v1::JoinGroupRequest request = Request(0, 1);
  request.set_name("second");
  int failures = 0;
  for (bool lived = false; !lived; ++failures) {
    ASSERT_LT(failures, 100) << "it never gets to its end";
    absl::Status joined;
    int limit = 0;
    {
      const FewDescriptors few(failures);
      limit = OpenFdsMax();
      joined = Join(request).Wait().status();
    }
    lived = joined.ok();
    if (lived) break;
    EXPECT_THAT(joined, StatusIs(absl::StatusCode::kResourceExhausted,
                                 HasSubstr(absl::StrCat(
                                     ": Too many open files: raise LimitNOFILE (now ", limit,
                                     ", all in use), or end other groups. User 1000's groups hold "
                                     "4 descriptors of the daemon, all groups 7"))));
  }
  EXPECT_GT(failures, 4) << "a plane, a page, its record, and what members get";
}

}  // namespace
}  // namespace nodecomm
