// The library against the real daemon on a simulated host, ranks as threads of this process.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "kernels/float_conversion.h"
#include "nodecomm/nodecomm.hpp"
#include "tests/support/daemon_process.h"
#include "tests/support/few_fds.h"
#include "tests/support/status_matchers.h"

namespace {

bool in_forked_child = false;

}  // namespace

// LeakSanitizer asks at exit. In a forked child it would report what threads of the parent own, of
// gRPC's for example: they do not exist there.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" __attribute__((visibility("default"))) int __lsan_is_turned_off() {
  return in_forked_child ? 1 : 0;
}

namespace nodecomm {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;

MATCHER_P2(Fails, code, message_matcher, "") {
  *result_listener << arg.ToString();
  return arg.code() == code &&
         ::testing::ExplainMatchResult(message_matcher, arg.message(), result_listener);
}
MATCHER(Succeeds, "succeeds") {
  *result_listener << arg.ToString();
  return arg.ok();
}

void RunRanks(int ranks, const std::function<void(int rank)>& body) {
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) threads.emplace_back([&body, rank] { body(rank); });
  for (std::thread& thread : threads) thread.join();
}

size_t Bytes(DataType type) { return type == DataType::kFloat32 ? 4 : 2; }

void Store(std::byte* to, DataType type, float value) {
  if (type == DataType::kFloat32) {
    std::memcpy(to, &value, sizeof(value));
    return;
  }
  const uint16_t half =
      type == DataType::kFloat16 ? kernels::FloatToFloat16(value) : kernels::FloatToBfloat16(value);
  std::memcpy(to, &half, sizeof(half));
}

// Small whole numbers: their sums are exact in every type.
float Element(int rank, size_t index) {
  return static_cast<float>((index * 7 + static_cast<size_t>(rank) * 3) % 13) - 6;
}

std::vector<std::byte> Filled(DataType type, size_t count, const std::function<float(size_t)>& of) {
  std::vector<std::byte> bytes(count * Bytes(type));
  for (size_t i = 0; i < count; ++i) Store(bytes.data() + i * Bytes(type), type, of(i));
  return bytes;
}

std::vector<std::byte> Sums(DataType type, size_t count, int ranks) {
  return Filled(type, count, [ranks](size_t i) {
    float sum = 0;
    for (int rank = 0; rank < ranks; ++rank) sum += Element(rank, i);
    return sum + 0.0f;  // no rank may see -0
  });
}

Status Sum(Communicator& comm, const void* in, void* out, size_t count, DataType type) {
  return comm.AllReduce(in, out, count, type, ReduceOp::kSum, nullptr);
}

// A call of one float; its value afterwards is the sum over ranks.
Status SumOne(Communicator& comm, float* value) {
  return Sum(comm, value, value, 1, DataType::kFloat32);
}

class CommunicatorTest : public ::testing::Test {
 protected:
  explicit CommunicatorTest(const std::string& config = "",
                            const std::string& topology = NODECOMM_TOPOLOGIES
                            "/hgx-h100-x4.textproto") {
    absl::StatusOr<std::unique_ptr<DaemonProcess>> started =
        DaemonProcess::Start({.program = NODECOMM_DAEMON, .topology = topology, .config = config});
    if (!started.ok()) {
      ADD_FAILURE() << started.status();
      return;
    }
    daemon_ = *std::move(started);
  }

  Options RankOptions(int rank, int world_size) const {
    Options options;
    options.name = "test";
    options.world_size = world_size;
    options.rank = rank;
    options.device = rank;
    options.plane_bytes = 4 << 20;
    options.rendezvous_timeout_ms = 20000;
    options.runtime_dir = daemon_ == nullptr ? "/nowhere" : daemon_->runtime_dir();
    return options;
  }

  // Creates a communicator on every rank at once, runs `body` on it, and destroys it.
  void RunGroup(
      int world_size, const std::function<void(int rank, Communicator& comm)>& body,
      const std::function<void(Options& options)>& change = [](Options&) {}) {
    RunRanks(world_size, [&](int rank) {
      Options options = RankOptions(rank, world_size);
      change(options);
      Result<Communicator> comm = Communicator::Create(options);
      ASSERT_THAT(comm.status(), Succeeds());
      body(rank, *comm);
    });
  }

  // What Create came to on every rank.
  std::vector<Status> TryAll(int ranks,
                             const std::function<void(int rank, Options& options)>& change) {
    std::vector<Status> statuses(ranks);
    RunRanks(ranks, [&](int rank) {
      Options options = RankOptions(rank, ranks);
      change(rank, options);
      statuses[rank] = Communicator::Create(options).status();
    });
    return statuses;
  }

  std::unique_ptr<DaemonProcess> daemon_;
};

// --- all-reduce

void ExpectSums(Communicator& comm, int rank, int ranks, DataType type, size_t count) {
  SCOPED_TRACE(absl::StrCat("rank ", rank, ", count ", count));
  const auto element = [rank](size_t i) { return Element(rank, i); };
  const std::vector<std::byte> in = Filled(type, count, element);
  const std::vector<std::byte> sums = Sums(type, count, ranks);
  std::vector<std::byte> out(in.size());
  ASSERT_THAT(Sum(comm, in.data(), out.data(), count, type), Succeeds());
  EXPECT_TRUE(out == sums) << "out of place";
  std::vector<std::byte> both = in;
  ASSERT_THAT(Sum(comm, both.data(), both.data(), count, type), Succeeds());
  EXPECT_TRUE(both == sums) << "in place";
  // Off by an element from any alignment that a kernel would like.
  std::vector<std::byte> shifted(in.size() + Bytes(type));
  if (count > 0) std::memcpy(shifted.data() + Bytes(type), in.data(), in.size());
  ASSERT_THAT(Sum(comm, shifted.data() + Bytes(type), out.data(), count, type), Succeeds());
  EXPECT_TRUE(out == sums) << "unaligned";
}

class AllReduceTest : public CommunicatorTest, public ::testing::WithParamInterface<int> {};

TEST_P(AllReduceTest, SumsEveryTypeAndSize) {
  const int ranks = GetParam();
  RunGroup(ranks, [&](int rank, Communicator& comm) {
    for (const DataType type : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
      for (const size_t count : {0, 1, 2, 3, 7, 24, 25, 127, 4096, 4097, 100003}) {
        ExpectSums(comm, rank, ranks, type, count);
      }
    }
    EXPECT_THAT(comm.GetStatus(), Succeeds());
    // Nobody leaves before all have asked.
    float one = 1;
    EXPECT_THAT(SumOne(comm, &one), Succeeds());
    EXPECT_EQ(one, static_cast<float>(ranks));
  });
}

INSTANTIATE_TEST_SUITE_P(WorldSizes, AllReduceTest, ::testing::Values(1, 2, 3, 4));

TEST_F(CommunicatorTest, SumsMessagesLargerThanAPlane) {
  RunGroup(
      2,
      [](int rank, Communicator& comm) {
        ExpectSums(comm, rank, 2, DataType::kBfloat16, (3 << 20) / 2 + 1);
      },
      [](Options& options) { options.plane_bytes = 2 << 20; });
}

TEST_F(CommunicatorTest, ChosenAlgorithmServesEverySize) {
  RunGroup(
      2,
      [](int rank, Communicator& comm) {
        EXPECT_EQ(comm.GetAlgorithm(64, DataType::kFloat32), Algorithm::kTwoShot);
        EXPECT_EQ(comm.GetAlgorithm(1 << 20, DataType::kFloat32), Algorithm::kTwoShot);
        ExpectSums(comm, rank, 2, DataType::kFloat32, 5);
      },
      [](Options& options) { options.algorithm = Algorithm::kTwoShot; });
}

TEST_F(CommunicatorTest, OneRankCopies) {
  RunGroup(1, [](int /*rank*/, Communicator& comm) {
    EXPECT_EQ(comm.GetAlgorithm(64, DataType::kFloat32), Algorithm::kCopy);
  });
}

TEST_F(CommunicatorTest, RefusesBadPointers) {
  RunGroup(1, [](int /*rank*/, Communicator& comm) {
    alignas(16) char memory[64] = {};
    const auto call = [&comm](const void* in, void* out, size_t count) {
      return Sum(comm, in, out, count, DataType::kFloat32);
    };
    EXPECT_THAT(call(nullptr, memory, 1), Fails(NODECOMM_INVALID_ARGUMENT, HasSubstr("null")));
    EXPECT_THAT(call(memory, nullptr, 1), Fails(NODECOMM_INVALID_ARGUMENT, HasSubstr("null")));
    EXPECT_THAT(call(nullptr, nullptr, 0), Succeeds());
    EXPECT_THAT(call(memory + 2, memory, 1),
                Fails(NODECOMM_INVALID_ARGUMENT, HasSubstr("aligned")));
    EXPECT_THAT(call(memory, memory + 4, 2),
                Fails(NODECOMM_INVALID_ARGUMENT, HasSubstr("overlap")));
    EXPECT_THAT(call(memory, memory + 4, 1), Succeeds());
    EXPECT_THAT(call(memory, memory, SIZE_MAX),
                Fails(NODECOMM_INVALID_ARGUMENT, HasSubstr("count")));
  });
}

TEST_F(CommunicatorTest, SupportsWholeElementsOnly) {
  RunGroup(2, [](int /*rank*/, Communicator& comm) {
    const char* reason = nullptr;
    EXPECT_TRUE(comm.Supports(1 << 30, DataType::kBfloat16));
    EXPECT_TRUE(comm.Supports(size_t{32} << 30, DataType::kBfloat16));
    EXPECT_FALSE(comm.Supports((size_t{32} << 30) + 4, DataType::kBfloat16, &reason));
    EXPECT_THAT(reason, HasSubstr("several calls"));
    EXPECT_FALSE(comm.Supports(6, DataType::kFloat32, &reason));
    EXPECT_THAT(reason, HasSubstr("whole number"));
  });
}

TEST_F(CommunicatorTest, InfoNamesGpuAndGroup) {
  RunGroup(2, [](int rank, Communicator& comm) {
    const Result<nodecomm_info> info = comm.GetInfo();
    ASSERT_THAT(info.status(), Succeeds());
    EXPECT_EQ(info->rank, rank);
    EXPECT_EQ(info->world_size, 2);
    EXPECT_EQ(info->device, rank);
    EXPECT_EQ(info->platform, NODECOMM_PLATFORM_SIMULATED);
    EXPECT_EQ(info->plane_bytes, size_t{4} << 20);
    EXPECT_NE(info->generation, 0);
    EXPECT_THAT(info->gpu_uuid, ::testing::StartsWith("GPU-"));
  });
}

TEST_F(CommunicatorTest, SeveralOfOneProcessWorkSideBySide) {
  RunRanks(2, [&](int rank) {
    Options options = RankOptions(rank, 2);
    Result<Communicator> first = Communicator::Create(options);
    ASSERT_THAT(first.status(), Succeeds());
    options.name = "second";
    Result<Communicator> second = Communicator::Create(options);
    ASSERT_THAT(second.status(), Succeeds());
    for (int call = 0; call < 10; ++call) {
      float one = 1;
      float two = 2;
      EXPECT_THAT(SumOne(*first, &one), Succeeds());
      EXPECT_THAT(SumOne(*second, &two), Succeeds());
      EXPECT_EQ(one, 2);
      EXPECT_EQ(two, 4);
    }
  });
}

TEST_F(CommunicatorTest, SameNameWithOtherKeyIsAnotherGroup) {
  const Result<Key> keys[2] = {RandomKey(), RandomKey()};
  RunRanks(4, [&](int thread) {
    Options options = RankOptions(thread % 2, 2);
    options.key = *keys[thread / 2];
    options.device = thread;
    Result<Communicator> comm = Communicator::Create(options);
    ASSERT_THAT(comm.status(), Succeeds());
    float value = thread < 2 ? 1 : 10;
    EXPECT_THAT(SumOne(*comm, &value), Succeeds());
    EXPECT_EQ(value, thread < 2 ? 2 : 20);
  });
}

TEST_F(CommunicatorTest, SameNameCanFormAgain) {
  for (int round = 0; round < 3; ++round) {
    RunGroup(2, [](int /*rank*/, Communicator& comm) {
      float value = 1;
      EXPECT_THAT(SumOne(comm, &value), Succeeds());
      EXPECT_EQ(value, 2);
    });
  }
  EXPECT_THAT(daemon_->Stop(), ::absl_testing::IsOk());
}

TEST_F(CommunicatorTest, TwoThreadsInOneCommunicatorAreToldAndTheGroupGoesOn) {
  absl::Notification refused;
  RunGroup(2, [&refused](int rank, Communicator& comm) {
    float values[2] = {1, 1};
    Status statuses[2];
    if (rank == 0) {
      // The one that comes first waits for rank 1, so the other finds it there.
      RunRanks(2, [&](int thread) {
        statuses[thread] = SumOne(comm, &values[thread]);
        if (!statuses[thread].ok()) refused.Notify();
      });
      const int second = statuses[0].ok() ? 1 : 0;
      EXPECT_THAT(statuses[second], Fails(NODECOMM_INVALID_ARGUMENT,
                                          HasSubstr("calls on one communicator must not overlap")));
      EXPECT_EQ(values[second], 1) << "untouched";
      EXPECT_THAT(statuses[1 - second], Succeeds());
      EXPECT_EQ(values[1 - second], 2);
    } else {
      ASSERT_TRUE(refused.WaitForNotificationWithTimeout(absl::Seconds(20)));
      EXPECT_THAT(SumOne(comm, &values[0]), Succeeds());
    }
    float again = 1;
    EXPECT_THAT(SumOne(comm, &again), Succeeds());
    EXPECT_EQ(again, 2);
  });
}

// --- checked mode

// Asks until the group has failed for this reason; at most 20 seconds.
void ExpectEnds(Communicator& comm, const std::string& text) {
  const absl::Time end = absl::Now() + absl::Seconds(20);
  Status status = comm.GetStatus();
  while (status.message().find(text) == std::string::npos && absl::Now() < end) {
    std::this_thread::yield();
    status = comm.GetStatus();
  }
  EXPECT_THAT(status, Fails(NODECOMM_ABORTED, HasSubstr(text)));
}

// Three calls of nothing, then one in which rank 1 of two differs.
void DifferAtTheFourthCall(int rank, Communicator& comm) {
  ExpectSums(comm, rank, 2, DataType::kBfloat16, 0);
  std::vector<std::byte> data(8192);
  const bool differs = rank == 1;
  EXPECT_THAT(Sum(comm, data.data(), data.data(), differs ? 1024 : 4096,
                  differs ? DataType::kFloat32 : DataType::kBfloat16),
              Fails(NODECOMM_ABORTED, ::testing::_));
  ExpectEnds(
      comm,
      "rank 0 calls all-reduce no. 4 with 8192 bytes of bfloat16, but rank 1 with 4096 bytes "
      "of float32");
}

TEST_F(CommunicatorTest, CheckedCallsSumAsOthersDo) {
  RunGroup(
      3,
      [](int rank, Communicator& comm) {
        for (const size_t count : {0, 1, 4097, 100003}) {
          ExpectSums(comm, rank, 3, DataType::kBfloat16, count);
        }
        EXPECT_THAT(comm.GetStatus(), Succeeds());
        float one = 1;  // nobody leaves before all have asked
        EXPECT_THAT(SumOne(comm, &one), Succeeds());
      },
      [](Options& options) { options.checked = true; });
}

TEST_F(CommunicatorTest, OneRankHasNobodyToCompareWith) {
  RunGroup(
      1, [](int rank, Communicator& comm) { ExpectSums(comm, rank, 1, DataType::kFloat32, 0); },
      [](Options& options) { options.checked = true; });
}

TEST_F(CommunicatorTest, CheckedModeNamesTheFirstDifferenceToAll) {
  RunGroup(
      2, [](int rank, Communicator& comm) { DifferAtTheFourthCall(rank, comm); },
      [](Options& options) { options.checked = true; });
}

TEST_F(CommunicatorTest, CheckedModeCanComeFromTheEnvironment) {
  ASSERT_EQ(setenv("NODECOMM_CHECKED", "1", 1), 0);
  RunGroup(2, [](int rank, Communicator& comm) { DifferAtTheFourthCall(rank, comm); });
  ASSERT_EQ(unsetenv("NODECOMM_CHECKED"), 0);
}

TEST_F(CommunicatorTest, CheckedModeNamesARankThatMakesNoCall) {
  RunGroup(
      2,
      [](int rank, Communicator& comm) {
        // Of no elements, which without checks nobody would wait for.
        if (rank == 0) {
          EXPECT_THAT(Sum(comm, nullptr, nullptr, 0, DataType::kFloat32),
                      Fails(NODECOMM_ABORTED, ::testing::_));
        }
        ExpectEnds(comm, "rank 1 did not come in time at all-reduce no. 1");
      },
      [](Options& options) {
        options.checked = true;
        options.call_timeout_ms = 200;
      });
}

TEST_F(CommunicatorTest, DifferingCheckedModesAreNamed) {
  const auto statuses = TryAll(2, [](int rank, Options& options) { options.checked = rank == 1; });
  EXPECT_THAT(statuses, Each(Fails(NODECOMM_FAILED_PRECONDITION,
                                   AllOf(HasSubstr("checked mode"), HasSubstr("rank 0 says off"),
                                         HasSubstr("rank 1 says on")))));
}

// --- programs of other versions

class OtherVersionTest : public CommunicatorTest {
 protected:
  // A caller's struct, longer than ours, with `last` in its last byte.
  nodecomm_result Create(size_t struct_size, int checked, unsigned char last) {
    struct Longer {
      nodecomm_options options;
      unsigned char more[16];
    } longer;
    std::memset(&longer, 0, sizeof(longer));
    longer.options.struct_size = struct_size;
    longer.options.name = "version";
    longer.options.world_size = 1;
    const std::string runtime_dir = daemon_->runtime_dir();
    longer.options.runtime_dir = runtime_dir.c_str();
    longer.options.checked = checked;
    longer.more[15] = last;
    nodecomm_comm* comm = nullptr;
    const nodecomm_result result = nodecomm_comm_create(&longer.options, &comm);
    nodecomm_comm_destroy(comm);
    return result;
  }
};

TEST_F(OtherVersionTest, ShorterOptionsAreThoseOfAnOlderProgram) {
  EXPECT_EQ(Create(offsetof(nodecomm_options, checked), 0, 0), NODECOMM_OK);
  EXPECT_EQ(Create(offsetof(nodecomm_options, checked) - 1, 0, 0), NODECOMM_INVALID_ARGUMENT);
  EXPECT_THAT(nodecomm_last_error(), HasSubstr("struct_size"));
}

TEST_F(OtherVersionTest, WhatAnOlderProgramDoesNotHaveIsNotRead) {
  // Rank 0 is such a program, with something behind its options that would turn checked mode on.
  RunRanks(2, [&](int rank) {
    nodecomm_options options = {};
    options.struct_size = rank == 0 ? offsetof(nodecomm_options, checked) : sizeof(options);
    options.name = "version";
    options.world_size = 2;
    options.rank = rank;
    options.device = rank;
    options.rendezvous_timeout_ms = 20000;
    const std::string runtime_dir = daemon_->runtime_dir();
    options.runtime_dir = runtime_dir.c_str();
    options.checked = rank == 0 ? 1 : 0;
    nodecomm_comm* comm = nullptr;
    EXPECT_EQ(nodecomm_comm_create(&options, &comm), NODECOMM_OK) << nodecomm_last_error();
    nodecomm_comm_destroy(comm);
  });
}

TEST_F(OtherVersionTest, LongerOptionsAreTakenIfTheRestIsNotUsed) {
  EXPECT_EQ(Create(sizeof(nodecomm_options) + 16, 0, 0), NODECOMM_OK);
  EXPECT_EQ(Create(sizeof(nodecomm_options) + 16, 0, 1), NODECOMM_INVALID_ARGUMENT);
  EXPECT_THAT(nodecomm_last_error(), HasSubstr("install a newer one"));
}

// --- what bad input gets

TEST_F(CommunicatorTest, DuplicateRankIsRefusedAndTheOthersGoOn) {
  std::vector<Status> twice(2);
  std::vector<std::thread> threads;
  threads.reserve(twice.size());
  for (Status& status : twice) {
    threads.emplace_back([this, &status] {
      status = Communicator::Create(RankOptions(0, 2)).status();
      // Whichever of the two came later has been refused at once; rank 1 comes then.
      if (!status.ok()) {
        EXPECT_THAT(Communicator::Create(RankOptions(1, 2)).status(), Succeeds());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(twice, Contains(Succeeds()));
  EXPECT_THAT(twice, Contains(Fails(NODECOMM_INVALID_ARGUMENT, HasSubstr("rank 0 of"))));
}

TEST_F(CommunicatorTest, RankOutOfRangeIsRefused) {
  EXPECT_THAT(Communicator::Create(RankOptions(2, 2)).status(),
              Fails(NODECOMM_INVALID_ARGUMENT, HasSubstr("rank 2 is out of range")));
}

TEST_F(CommunicatorTest, DifferingWorldSizesAreNamed) {
  const auto statuses =
      TryAll(2, [](int rank, Options& options) { options.world_size = 2 + rank; });
  EXPECT_THAT(statuses,
              Each(Fails(NODECOMM_FAILED_PRECONDITION,
                         AllOf(HasSubstr("world size"), HasSubstr("2"), HasSubstr("3")))));
}

TEST_F(CommunicatorTest, DifferingPlaneSizesAreNamed) {
  const auto statuses =
      TryAll(2, [](int rank, Options& options) { options.plane_bytes = (2 + 2 * rank) << 20; });
  EXPECT_THAT(statuses, Each(Fails(NODECOMM_FAILED_PRECONDITION,
                                   AllOf(HasSubstr("2097152"), HasSubstr("4194304")))));
}

TEST_F(CommunicatorTest, DifferingAlgorithmsAreNamed) {
  const auto statuses = TryAll(2, [](int rank, Options& options) {
    options.algorithm = rank == 0 ? Algorithm::kOneShot : Algorithm::kTwoShot;
  });
  EXPECT_THAT(statuses, Each(Fails(NODECOMM_FAILED_PRECONDITION,
                                   AllOf(HasSubstr("one_shot"), HasSubstr("two_shot")))));
}

TEST_F(CommunicatorTest, TwoRanksOnOneGpuAreNamed) {
  const auto statuses = TryAll(2, [](int /*rank*/, Options& options) { options.device = 0; });
  EXPECT_THAT(statuses, Each(Fails(NODECOMM_FAILED_PRECONDITION,
                                   AllOf(HasSubstr("ranks 0 and 1"), HasSubstr("GPU-")))));
}

TEST_F(CommunicatorTest, MoreRanksThanGpusIsSaidAtOnce) {
  // Nobody else comes, and the deadline is far away.
  EXPECT_THAT(Communicator::Create(RankOptions(0, 5)).status(),
              Fails(NODECOMM_FAILED_PRECONDITION, AllOf(HasSubstr("4 GPUs"), HasSubstr("NCCL"))));
}

TEST_F(CommunicatorTest, UnknownDeviceIsRefused) {
  Options options = RankOptions(0, 2);
  options.device = 4;
  EXPECT_THAT(Communicator::Create(options).status(),
              Fails(NODECOMM_INVALID_ARGUMENT, HasSubstr("device 4")));
}

// Writes a byte into every plane that the daemon holds ready; returns how many there are.
int DirtyPlanes(pid_t daemon, off_t offset) {
  int planes = 0;
  const std::string dir = absl::StrCat("/proc/", daemon, "/fd");
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    if (target.find("nodecomm-plane") == std::string::npos) continue;
    const int fd = open(entry.path().c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) continue;
    if (pwrite(fd, "x", 1, offset) == 1) ++planes;
    close(fd);
  }
  return planes;
}

TEST_F(CommunicatorTest, MemoryThatIsNotFreshFailsTheJoinOfAll) {
  constexpr int kPlanesReady = 8;  // two on each of four GPUs, by default
  constexpr off_t kOffset = (5 << 20) + 3;
  const absl::Time end = absl::Now() + absl::Seconds(20);
  while (DirtyPlanes(daemon_->pid(), kOffset) < kPlanesReady) ASSERT_LT(absl::Now(), end);
  const auto statuses = TryAll(2, [](int /*rank*/, Options& options) { options.plane_bytes = 0; });
  const auto not_fresh = AllOf(HasSubstr("the plane of rank "), HasSubstr("is not fresh memory"),
                               HasSubstr("offset 5242883 of 37748736"));
  EXPECT_THAT(statuses, Contains(Fails(NODECOMM_INTERNAL, not_fresh)));
  // Who had confirmed already learns it from the other.
  EXPECT_THAT(statuses, Each(::testing::AnyOf(Fails(NODECOMM_INTERNAL, not_fresh),
                                              Fails(NODECOMM_ABORTED, not_fresh))));
  // Planes of another size are made for the purpose, and fresh.
  RunGroup(2, [](int /*rank*/, Communicator& comm) {
    float value = 1;
    EXPECT_THAT(SumOne(comm, &value), Succeeds());
    EXPECT_EQ(value, 2);
  });
}

TEST_F(CommunicatorTest, ProcessThatIsOutOfDescriptorsKeepsTheGroupsThatItHas) {
  RunGroup(1, [&](int /*rank*/, Communicator& comm) {
    Options options = RankOptions(0, 1);
    options.name = "another";
    options.device = 1;
    // Once with room enough: see FewFds about sanitizers.
    ASSERT_THAT(Communicator::Create(options).status(), Succeeds());
    ASSERT_THAT(comm.AllocateShared(64).status(), Succeeds());
    Status created;
    Status shared;
    {
      const FewFds few;
      created = Communicator::Create(options).status();
      shared = comm.AllocateShared(64).status();
    }
    EXPECT_THAT(created, Fails(NODECOMM_RESOURCE_EXHAUSTED, HasSubstr("ulimit -n")));
    EXPECT_THAT(shared, Fails(NODECOMM_RESOURCE_EXHAUSTED, HasSubstr("ulimit -n")));
    EXPECT_THAT(comm.GetStatus(), Succeeds());
    EXPECT_THAT(comm.AllocateShared(64).status(), Succeeds());
    EXPECT_THAT(Communicator::Create(options).status(), Succeeds());
  });
}

TEST_F(CommunicatorTest, RankThatNeverComesIsNamed) {
  Options options = RankOptions(1, 3);
  options.rendezvous_timeout_ms = 50;
  EXPECT_THAT(Communicator::Create(options).status(),
              Fails(NODECOMM_DEADLINE_EXCEEDED, HasSubstr("ranks 0, 2 of 3")));
}

TEST_F(CommunicatorTest, NoDaemonSaysWhatToDo) {
  Options options = RankOptions(0, 2);
  options.runtime_dir = "/nowhere";
  EXPECT_THAT(Communicator::Create(options).status(),
              Fails(NODECOMM_UNAVAILABLE, HasSubstr("no nodecommd at /nowhere/session.sock")));
}

TEST_F(CommunicatorTest, DisabledNeedsNoDaemon) {
  ASSERT_EQ(setenv("NODECOMM_DISABLE", "1", 1), 0);
  Options options = RankOptions(0, 2);
  options.runtime_dir = "/nowhere";
  Result<Communicator> comm = Communicator::Create(options);
  ASSERT_EQ(unsetenv("NODECOMM_DISABLE"), 0);
  ASSERT_THAT(comm.status(), Succeeds());
  const char* reason = nullptr;
  EXPECT_FALSE(comm->Supports(1024, DataType::kFloat32, &reason));
  EXPECT_THAT(reason, HasSubstr("NODECOMM_DISABLE"));
  EXPECT_EQ(comm->GetAlgorithm(1024, DataType::kFloat32), Algorithm::kAuto);
  float value = 1;
  EXPECT_THAT(SumOne(*comm, &value),
              Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr("NODECOMM_DISABLE")));
  EXPECT_THAT(comm->AllocateShared(4096).status(),
              Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr("NODECOMM_DISABLE")));
  EXPECT_THAT(comm->GetStatus(), Succeeds());
  EXPECT_THAT(comm->Abort(""), Succeeds());
  EXPECT_THAT(comm->Leave(), Succeeds());
}

TEST_F(CommunicatorTest, MoreRanksThanThereIsAFastPathForAreToldToUseNccl) {
  Result<Communicator> comm = Communicator::Create(RankOptions(8, 9));
  ASSERT_THAT(comm.status(), Succeeds());
  const char* reason = nullptr;
  EXPECT_FALSE(comm->Supports(1024, DataType::kFloat32, &reason));
  EXPECT_THAT(reason, AllOf(HasSubstr("9 ranks"), HasSubstr("Use NCCL")));
  float value = 1;
  EXPECT_THAT(SumOne(*comm, &value), Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr("Use NCCL")));
  EXPECT_THAT(comm->Leave(), Succeeds());
}

class SharedGpuTest : public CommunicatorTest {
 protected:
  SharedGpuTest() : CommunicatorTest("group { allow_gpu_sharing: true }") {}
};

TEST_F(SharedGpuTest, EightRanksOnFourGpus) {
  RunRanks(8, [&](int rank) {
    Options options = RankOptions(rank, 8);
    options.device = rank / 2;
    Result<Communicator> comm = Communicator::Create(options);
    ASSERT_THAT(comm.status(), Succeeds());
    ExpectSums(*comm, rank, 8, DataType::kBfloat16, 1001);
  });
}

class NoPeerAccessTest : public CommunicatorTest {
 protected:
  NoPeerAccessTest() : CommunicatorTest("", NODECOMM_TOPOLOGIES "/rtx-4090-x2.textproto") {}
};

TEST_F(NoPeerAccessTest, GroupIsFormedAndSaysWhyItDoesNotServe) {
  RunGroup(2, [](int /*rank*/, Communicator& comm) {
    const char* reason = nullptr;
    EXPECT_FALSE(comm.Supports(1024, DataType::kFloat32, &reason));
    EXPECT_THAT(reason, HasSubstr("NCCL"));
    EXPECT_EQ(comm.GetAlgorithm(1024, DataType::kFloat32), Algorithm::kAuto);
    float value = 1;
    EXPECT_THAT(SumOne(comm, &value), Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr(reason)));
    EXPECT_THAT(comm.AllocateShared(64).status(),
                Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr(reason)));
  });
}

// --- the end of a group

TEST_F(CommunicatorTest, LeavingIsNamedToWhoCallsLater) {
  RunGroup(2, [](int rank, Communicator& comm) {
    float value = 1;
    EXPECT_THAT(SumOne(comm, &value), Succeeds());
    if (rank == 1) {
      EXPECT_THAT(comm.Leave(), Succeeds());
      EXPECT_THAT(comm.GetStatus(), Succeeds());
      EXPECT_THAT(SumOne(comm, &value), Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr("has left")));
      EXPECT_THAT(comm.Abort("too late"),
                  Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr("has left")));
      return;
    }
    // Fails at once if rank 1 has left, else while it waits for it.
    EXPECT_THAT(SumOne(comm, &value),
                Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr("rank 1 has left")));
    EXPECT_THAT(comm.GetStatus(),
                Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr("rank 1 has left")));
  });
}

TEST_F(CommunicatorTest, AbortEndsACallThatWaits) {
  RunGroup(2, [](int rank, Communicator& comm) {
    float value = 1;
    if (rank == 1) {
      EXPECT_THAT(comm.Abort("out of memory in layer 3"), Succeeds());
    } else {
      EXPECT_THAT(SumOne(comm, &value),
                  Fails(NODECOMM_ABORTED,
                        AllOf(HasSubstr("out of memory in layer 3"), HasSubstr("rank 1"))));
    }
    EXPECT_THAT(comm.GetStatus(), Fails(NODECOMM_ABORTED, HasSubstr("out of memory in layer 3")));
    EXPECT_THAT(SumOne(comm, &value), Fails(NODECOMM_ABORTED, HasSubstr("layer 3")));
    EXPECT_THAT(comm.Leave(), Succeeds());
  });
}

// gRPC refuses what is too long, and what is no UTF-8 in a string.
TEST_F(CommunicatorTest, AnyReasonReachesTheOthers) {
  for (const std::string& reason : {std::string(70'000, 'x'), std::string("out of \xff memory")}) {
    RunGroup(2, [&](int rank, Communicator& comm) {
      if (rank == 1) {
        EXPECT_THAT(comm.Abort(reason), Succeeds());
      }
      const absl::Time deadline = absl::Now() + absl::Seconds(20);
      while (comm.GetStatus().ok() && absl::Now() < deadline) {
        absl::SleepFor(absl::Milliseconds(1));
      }
      EXPECT_THAT(comm.GetStatus(), Fails(NODECOMM_ABORTED, HasSubstr(reason.substr(0, 7))));
    });
  }
}

TEST_F(CommunicatorTest, RankThatDoesNotCallIsNamedToAll) {
  RunGroup(
      3,
      [](int rank, Communicator& comm) {
        float value = 1;
        EXPECT_THAT(SumOne(comm, &value), Succeeds());
        if (rank == 1) {
          // One of the others may have left before the other's report has come to the daemon.
          ExpectEnds(comm, "rank 1 did not come in time");
          return;
        }
        EXPECT_THAT(SumOne(comm, &value), Fails(NODECOMM_ABORTED, ::testing::_));
        EXPECT_THAT(comm.GetStatus(), Fails(NODECOMM_ABORTED, ::testing::_));
      },
      [](Options& options) { options.call_timeout_ms = 1000; });
}

TEST_F(CommunicatorTest, WorksOnWhenTheDaemonDies) {
  std::vector<std::optional<Result<Communicator>>> comms(2);
  RunRanks(2, [&](int rank) { comms[rank] = Communicator::Create(RankOptions(rank, 2)); });
  daemon_->Kill();
  RunRanks(2, [&](int rank) {
    ASSERT_THAT(comms[rank]->status(), Succeeds());
    Communicator& comm = **comms[rank];
    for (int call = 0; call < 10; ++call) {
      float value = 1;
      EXPECT_THAT(SumOne(comm, &value), Succeeds());
      EXPECT_EQ(value, 2);
    }
    EXPECT_THAT(comm.GetStatus(), Succeeds());
    EXPECT_THAT(comm.Leave(), Succeeds());
  });
  EXPECT_THAT(Communicator::Create(RankOptions(0, 2)).status(),
              Fails(NODECOMM_UNAVAILABLE, HasSubstr("no nodecommd")));
}

// --- shared buffers

// The process lives on, so nobody else would ever tell the daemon.
TEST_F(CommunicatorTest, LeavingWhileTheDaemonIsAwayIsToldWhenItIsBack) {
  Options alone = RankOptions(0, 1);
  alone.device = 2;
  Result<Communicator> other = Communicator::Create(alone);
  ASSERT_THAT(other.status(), Succeeds());
  std::vector<Result<Communicator>> comms;
  for (int rank = 0; rank < 2; ++rank) comms.push_back(Status());
  RunRanks(2, [&](int rank) {
    Options options = RankOptions(rank, 2);
    options.name = "left";
    comms[static_cast<size_t>(rank)] = Communicator::Create(options);
  });
  for (const auto& comm : comms) ASSERT_THAT(comm.status(), Succeeds());
  daemon_->Kill();
  EXPECT_THAT(comms[1]->Leave(), Succeeds());
  EXPECT_THAT(comms[0]->GetStatus(), Succeeds());
  ASSERT_OK(daemon_->Restart());
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (comms[0]->GetStatus().ok() && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_THAT(comms[0]->GetStatus(),
              Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr("rank 1 has left")));
  EXPECT_THAT(comms[0]->Leave(), Succeeds());
  EXPECT_THAT(other->GetStatus(), Succeeds());
  // What is left in the end is the other group's: its page, by both of its names, and its record.
  const std::filesystem::path groups = daemon_->runtime_dir() + "/groups";
  const auto files = [&] {
    return std::distance(std::filesystem::directory_iterator(groups),
                         std::filesystem::directory_iterator());
  };
  while (files() > 3 && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(files(), 3);
}

// Not only when the daemon has waited long enough for the session.
TEST_F(CommunicatorTest, DaemonThatComesBackIsToldThatTheLastCommunicatorHasGone) {
  {
    const Result<Communicator> only = Communicator::Create(RankOptions(0, 1));
    ASSERT_THAT(only.status(), Succeeds());
    daemon_->Kill();
  }
  ASSERT_OK(daemon_->Restart());
  const auto is_empty = [&](const std::string& folder) {
    return std::filesystem::is_empty(daemon_->runtime_dir() + folder);
  };
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (!(is_empty("/groups") && is_empty("/sessions")) && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_TRUE(is_empty("/groups"));
  EXPECT_TRUE(is_empty("/sessions"));
}

TEST_F(CommunicatorTest, SharedBufferIsZeroAndSeenByAll) {
  RunGroup(3, [](int rank, Communicator& comm) {
    Result<SharedBuffer> shared = comm.AllocateShared(3000);
    ASSERT_THAT(shared.status(), Succeeds());
    EXPECT_EQ(shared->bytes(), 3000);
    EXPECT_EQ(shared->pointer(-1), nullptr);
    EXPECT_EQ(shared->pointer(3), nullptr);
    auto* mine = static_cast<unsigned char*>(shared->pointer(rank));
    for (size_t i = 0; i < shared->bytes(); ++i) ASSERT_EQ(mine[i], 0);
    float value = 1;
    ASSERT_THAT(SumOne(comm, &value), Succeeds());  // all have looked
    for (int peer = 0; peer < 3; ++peer) {
      static_cast<unsigned char*>(shared->pointer(peer))[2997 + rank] =
          static_cast<unsigned char>(rank + 1);
    }
    ASSERT_THAT(SumOne(comm, &value), Succeeds());  // all have written
    for (int peer = 0; peer < 3; ++peer) EXPECT_EQ(mine[2997 + peer], peer + 1);
  });
}

TEST_F(CommunicatorTest, SharedBuffersAreApart) {
  RunGroup(2, [](int rank, Communicator& comm) {
    Result<SharedBuffer> first = comm.AllocateShared(64);
    Result<SharedBuffer> second = comm.AllocateShared(1 << 20);
    ASSERT_THAT(first.status(), Succeeds());
    ASSERT_THAT(second.status(), Succeeds());
    std::memset(first->pointer(rank), 1, 64);
    EXPECT_EQ(static_cast<char*>(second->pointer(rank))[0], 0);
    first->Free();
    Result<SharedBuffer> third = comm.AllocateShared(64);
    ASSERT_THAT(third.status(), Succeeds());
    EXPECT_EQ(static_cast<char*>(third->pointer(rank))[0], 0);
  });
}

TEST_F(CommunicatorTest, DifferingSharedSizesAreNamed) {
  RunGroup(2, [](int rank, Communicator& comm) {
    EXPECT_THAT(comm.AllocateShared(1000 + rank).status(),
                Fails(NODECOMM_FAILED_PRECONDITION, AllOf(HasSubstr("1000"), HasSubstr("1001"))));
  });
}

TEST_F(CommunicatorTest, SharedBufferOfNothingIsRefused) {
  RunGroup(1, [](int /*rank*/, Communicator& comm) {
    EXPECT_THAT(comm.AllocateShared(0).status(),
                Fails(NODECOMM_INVALID_ARGUMENT, HasSubstr("at least 1 byte")));
  });
}

// --- fork

// Runs `body` in a forked child, which ends with its result through `end`; returns the exit code.
int RunInChild(const std::function<int()>& body, void (*end)(int)) {
  const pid_t child = fork();
  if (child == 0) {
    in_forked_child = true;
    end(body());
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class ForkTest : public CommunicatorTest {
 protected:
  // A group of two, whose parent forks `child` between two calls.
  void RunAround(const std::function<int(Result<Communicator>& comm)>& child, void (*end)(int)) {
    std::vector<std::optional<Result<Communicator>>> comms(2);
    RunRanks(2, [&](int rank) { comms[rank] = Communicator::Create(RankOptions(rank, 2)); });
    ASSERT_THAT(comms[0]->status(), Succeeds());
    ASSERT_THAT(comms[1]->status(), Succeeds());
    EXPECT_EQ(RunInChild([&] { return child(*comms[0]); }, end), 0);
    RunRanks(2, [&](int rank) {
      float value = 1;
      EXPECT_THAT(SumOne(**comms[rank], &value), Succeeds());
      EXPECT_EQ(value, 2);
      // The daemon still knows the session.
      EXPECT_THAT((*comms[rank])->AllocateShared(64).status(), Succeeds());
    });
  }
};

TEST_F(ForkTest, ChildThatEndsAtOnceEndsNothing) {
  RunAround([](Result<Communicator>&) { return 0; }, &_exit);
}

TEST_F(ForkTest, ChildThatRunsExitHandlersEndsNothing) {
  RunAround([](Result<Communicator>&) { return 0; }, &exit);
}

TEST_F(ForkTest, ChildThatDestroysItEndsNothing) {
  RunAround(
      [](Result<Communicator>& comm) {
        { const Communicator destroyed = *std::move(comm); }
        return 0;
      },
      &_exit);
}

TEST_F(ForkTest, ChildCannotUseIt) {
  RunAround(
      [](Result<Communicator>& comm) {
        float value = 1;
        const Status statuses[] = {SumOne(*comm, &value), comm->GetStatus(), comm->Abort("no"),
                                   comm->Leave(), comm->AllocateShared(64).status()};
        for (const Status& status : statuses) {
          if (status.code() != NODECOMM_FAILED_PRECONDITION ||
              status.message().find("before fork") == std::string::npos) {
            return 1;
          }
        }
        return 0;
      },
      &_exit);
}

TEST_F(ForkTest, ChildCannotCreateItsOwn) {
  RunAround(
      [this](Result<Communicator>&) {
        const Status status = Communicator::Create(RankOptions(0, 1)).status();
        return status.code() == NODECOMM_FAILED_PRECONDITION ? 0 : 1;
      },
      &_exit);
}

// --- programs that use the public headers alone

class PublicHeaderTest : public CommunicatorTest {
 protected:
  int RunProgram(const char* program) {
    return RunInChild(
        [&] {
          setenv("NODECOMM_RUNTIME_DIR", daemon_->runtime_dir().c_str(), 1);
          execl(program, program, nullptr);
          return 127;
        },
        &_exit);
  }
};

TEST_F(PublicHeaderTest, ServesAProgramInC) { EXPECT_EQ(RunProgram(NODECOMM_C_PROGRAM), 0); }

TEST_F(PublicHeaderTest, ServesAProgramInCpp) { EXPECT_EQ(RunProgram(NODECOMM_CPP_PROGRAM), 0); }

}  // namespace
}  // namespace nodecomm
