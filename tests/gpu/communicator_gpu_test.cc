// The library on this host's GPUs, through its public headers, against the real daemon. Ranks are
// threads of this process, a GPU each; communicator_worker has those that need a process. On a host
// with one GPU two ranks share it, and what needs two is skipped.
// Design note: tests/gpu/README.md.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iterator>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "tests/gpu/busy_multiprocessors.h"
#include "tests/gpu/communicator_worker.h"
#include "tests/gpu/early_reader.h"
#include "tests/gpu/late_writer.h"
#include "tests/gpu/rank_checks.h"
#include "tests/gpu/sum_pattern.h"
#include "tests/support/daemon_process.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

constexpr int kRanksMax = 8;

double MillisecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

bool GpuRequired() {
  const char* required = std::getenv("NODECOMM_REQUIRE_GPU");
  return required != nullptr && std::string(required) == "1";
}

// As NVML and CUDA_VISIBLE_DEVICES write it.
std::string GpuUuid(int device) {
  cudaDeviceProp properties;
  CHECK_CUDA(cudaGetDeviceProperties(&properties, device));
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    absl::StrAppendFormat(&text, "%02x", static_cast<unsigned char>(properties.uuid.bytes[i]));
  }
  return text;
}

int ComputeCapabilityMajor(int device) {
  int major = 0;
  CHECK_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  return major;
}

int CountDevices() {
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess ? devices : 0;
}

// Empty: these tests can run.
std::string WhyNot(int devices) {
  if (devices == 0) return "no GPU";
  for (int from = 0; from < devices; ++from) {
    for (int to = 0; to < devices; ++to) {
      int access = 1;
      if (from != to) CHECK_CUDA(cudaDeviceCanAccessPeer(&access, from, to));
      if (access == 0) return "GPUs of this host cannot access each other";
    }
  }
  return "";
}

class CommunicatorGpuTest : public ::testing::Test {
 protected:
  // One daemon for all tests: starting it costs seconds where GPUs are many.
  static void SetUpTestSuite() {
    devices_ = CountDevices();
    why_not_ = WhyNot(devices_);
    if (!why_not_.empty()) return;
    absl::StatusOr<std::unique_ptr<DaemonProcess>> started =
        StartDaemon(devices_ == 1 ? "group { allow_gpu_sharing: true }" : "");
    ASSERT_OK(started.status());
    daemon_ = *std::move(started);
  }
  static absl::StatusOr<std::unique_ptr<DaemonProcess>> StartDaemon(const std::string& config) {
    const std::filesystem::path tests =
        std::filesystem::read_symlink("/proc/self/exe").parent_path();
    return DaemonProcess::Start({.program = tests.parent_path() / "bin/nodecommd",
                                 .topology = "",
                                 .config = "log_level: \"warning\" " + config});
  }
  static void TearDownTestSuite() {
    if (daemon_ == nullptr) return;
    EXPECT_OK(daemon_->Stop());
    daemon_.reset();
  }

  void SetUp() override {
    if (!why_not_.empty() && GpuRequired()) FAIL() << why_not_;
    if (!why_not_.empty()) GTEST_SKIP() << why_not_;
    ASSERT_NE(daemon_, nullptr);
    world_size_ = std::clamp(devices_, 2, kRanksMax);
    comms_.resize(static_cast<size_t>(world_size_));
    work_.resize(comms_.size());
    OnEachRank([this](int rank) { work_[rank] = std::make_unique<Workspace>(); });
  }

  RankSpec Spec(int rank) const {
    return {.rank = rank, .world_size = world_size_, .device = rank % devices_};
  }
  const std::string& runtime_dir() const { return daemon_->runtime_dir(); }

  // A thread a rank, each on its GPU; returns when all are done. What one of them prepares (memory,
  // graphs) and what makes ranks wait for each other belong into different calls: see Workspace.
  void OnEachRank(const std::function<void(int rank)>& body) const {
    std::vector<std::thread> threads;
    threads.reserve(static_cast<size_t>(world_size_));
    for (int rank = 0; rank < world_size_; ++rank) {
      threads.emplace_back([this, &body, rank] {
        CHECK_CUDA(cudaSetDevice(Spec(rank).device));
        const ::testing::ScopedTrace trace(__FILE__, __LINE__, "rank " + std::to_string(rank));
        body(rank);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  using Comms = std::vector<std::optional<Communicator>>;

  // One communicator a rank, all created at once. False, and the test has failed, if one is
  // missing.
  bool FormGroup(
      const std::string& name, Comms& comms,
      const std::function<void(Options& options)>& change = [](Options&) {}) const {
    comms.resize(static_cast<size_t>(world_size_));
    OnEachRank([&](int rank) {
      Options options = RankOptions(Spec(rank), name, runtime_dir());
      change(options);
      Result<Communicator> comm = Communicator::Create(options);
      EXPECT_THAT(comm.status(), Succeeds());
      if (comm.ok()) comms[rank] = *std::move(comm);
    });
    return std::all_of(comms.begin(), comms.end(),
                       [](const auto& comm) { return comm.has_value(); });
  }
  // As a job ends: all ranks at once.
  void DestroyGroup(Comms& comms) const {
    OnEachRank([&comms](int rank) { comms[rank].reset(); });
  }

  void MeetAll() {
    OnEachRank([this](int rank) { MeetOthers(*comms_[rank], world_size_, *work_[rank]); });
  }

  static inline int devices_ = 0;
  static inline std::string why_not_;
  static inline std::unique_ptr<DaemonProcess> daemon_;

  int world_size_ = 0;
  std::vector<std::unique_ptr<Workspace>> work_;
  Comms comms_;
};

// --- sums

// One rank's all-reduces of one size: out of place and in place, eager and in graphs.
class SumCalls {
 public:
  // Element `shift` of each buffer is where a message begins.
  SumCalls(Communicator& comm, const SumPattern& pattern, int rank, DataType type, size_t count,
           size_t shift)
      : comm_(comm),
        pattern_(pattern),
        type_(type),
        count_(count),
        bytes_(count * ElementBytes(type)),
        size_(bytes_ + shift * ElementBytes(type)),
        source_(size_),
        in_memory_(size_),
        out_memory_(size_),
        in_(in_memory_.data() + size_ - bytes_),
        out_(out_memory_.data() + size_ - bytes_) {
    const std::vector<uint8_t> input = Repeat(pattern.inputs[static_cast<size_t>(rank)], bytes_);
    CHECK_CUDA(cudaMemcpy(source_.data(), input.data(), bytes_, cudaMemcpyHostToDevice));
    for (std::unique_ptr<DeviceMemory>& result : results_) {
      result = std::make_unique<DeviceMemory>(size_);
    }
    chain_.emplace(stream_, [this] {
      Sum(in_, out_);
      Sum(out_, out_);
    });
    in_place_.emplace(stream_, [this] { Sum(in_, in_); });
  }

  // All of them, one behind the other, with nothing but copies between them; and each kind right
  // behind the other.
  void Enqueue() {
    stream_.Copy(in_, source_.data(), bytes_);
    Sum(in_, out_);
    Keep(0, out_);
    chain_->Launch();
    Keep(1, out_);
    Sum(in_, in_);
    Keep(2, in_);
    stream_.Copy(in_, source_.data(), bytes_);
    in_place_->Launch();
    Keep(3, in_);
    stream_.Copy(in_, source_.data(), bytes_);
    Sum(in_, out_);
    Sum(out_, out_);
    Keep(4, out_);
    chain_->Launch();
    chain_->Launch();
    Keep(5, out_);
    stream_.Copy(in_, source_.data(), bytes_);
    Sum(in_, in_);
    in_place_->Launch();
    Keep(6, in_);
    stream_.Copy(in_, source_.data(), bytes_);
    in_place_->Launch();
    Sum(in_, out_);
    Keep(7, out_);
  }

  void ExpectRight() {
    const std::vector<uint8_t>* expected[kResults] = {
        &pattern_.sums,         &pattern_.sums_of_sums, &pattern_.sums,
        &pattern_.sums,         &pattern_.sums_of_sums, &pattern_.sums_of_sums,
        &pattern_.sums_of_sums, &pattern_.sums_of_sums};
    for (int i = 0; i < kResults; ++i) {
      EXPECT_THAT(Download(stream_, results_[i]->data(), bytes_), Repeats(*expected[i]))
          << "result " << i << " of " << count_ << " elements of type " << static_cast<int>(type_);
    }
    EXPECT_THAT(comm_.GetStatus(), Succeeds());
  }

 private:
  static constexpr int kResults = 8;

  void Sum(const void* in, void* out) {
    EXPECT_THAT(comm_.AllReduce(in, out, count_, type_, ReduceOp::kSum, stream_.get()), Succeeds());
  }
  void Keep(int result, const void* from) { stream_.Copy(results_[result]->data(), from, bytes_); }

  Communicator& comm_;
  const SumPattern& pattern_;
  const DataType type_;
  const size_t count_;
  const size_t bytes_;
  const size_t size_;
  const Stream stream_;
  const DeviceMemory source_;
  const DeviceMemory in_memory_;
  const DeviceMemory out_memory_;
  uint8_t* const in_;
  uint8_t* const out_;
  std::unique_ptr<DeviceMemory> results_[kResults];
  std::optional<Graph> chain_;  // out of place, then in place on what came out
  std::optional<Graph> in_place_;
};

TEST_F(CommunicatorGpuTest, EagerCallsAndReplaysSumToTheSameBitsOnAllRanks) {
  ASSERT_TRUE(FormGroup("sums", comms_));
  for (const DataType type : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
    const SumPattern pattern(type, world_size_);
    for (const size_t bytes : {4, 24, 1000, 16 << 10, 100004, 256 << 10, 1 << 20, (2 << 20) - 4,
                               (3 << 20) + 4, 16 << 20}) {
      for (const bool aligned : {true, false}) {
        std::vector<std::unique_ptr<SumCalls>> calls(comms_.size());
        OnEachRank([&](int rank) {
          // A different one on each rank.
          const size_t shift = aligned ? 0 : static_cast<size_t>(rank) + 1;
          calls[rank] = std::make_unique<SumCalls>(*comms_[rank], pattern, rank, type,
                                                   bytes / ElementBytes(type), shift);
        });
        OnEachRank([&](int rank) { calls[rank]->Enqueue(); });
        OnEachRank([&](int rank) { calls[rank]->ExpectRight(); });
        // The rest would only wait for the group's end again and again.
        if (HasFailure()) return;
      }
    }
  }
}

// Where 32 bits are too few for a byte's place, and 31 for an element's.
TEST_F(CommunicatorGpuTest, SumsMoreThanFourGiB) {
  constexpr size_t kBytesPerStep = size_t{64} << 20;
  // Each a value of its own, so that what goes astray shows.
  constexpr size_t kParts[] = {(size_t{1} << 31) + 4, (size_t{1} << 31) - 20,
                               (size_t{12} << 20) + 1000};
  constexpr size_t kBytes = kParts[0] + kParts[1] + kParts[2];
  static_assert(kBytes > size_t{1} << 32);
  ASSERT_TRUE(FormGroup("large", comms_));
  const auto byte_of = [](int rank, size_t part) {
    return 0x38 + rank + 8 * static_cast<int>(part);
  };
  const auto value_of = [&](int rank, size_t part) {
    const std::vector<uint8_t> bytes(sizeof(float), static_cast<uint8_t>(byte_of(rank, part)));
    float value;
    std::memcpy(&value, bytes.data(), sizeof(value));
    return value;
  };
  std::vector<std::unique_ptr<DeviceMemory>> data(comms_.size());
  OnEachRank([&](int rank) {
    data[rank] = std::make_unique<DeviceMemory>(kBytes);
    size_t offset = 0;
    for (size_t part = 0; part < std::size(kParts); ++part) {
      CHECK_CUDA(cudaMemset(data[rank]->data() + offset, byte_of(rank, part), kParts[part]));
      offset += kParts[part];
    }
    CHECK_CUDA(cudaDeviceSynchronize());
  });
  OnEachRank([&](int rank) {
    EXPECT_THAT(
        comms_[rank]->AllReduce(data[rank]->data(), data[rank]->data(), kBytes / sizeof(float),
                                DataType::kFloat32, ReduceOp::kSum, work_[rank]->stream.get()),
        Succeeds());
  });
  OnEachRank([&](int rank) {
    const Stream& stream = work_[rank]->stream;
    stream.Synchronize();
    EXPECT_THAT(comms_[rank]->GetStatus(), Succeeds());
    size_t begin = 0;
    for (size_t part = 0; part < std::size(kParts); ++part) {
      float sum = value_of(0, part);
      for (int r = 1; r < world_size_; ++r) sum += value_of(r, part);
      const size_t end = begin + kParts[part];
      for (size_t offset = begin; offset < end; offset += kBytesPerStep) {
        std::vector<float> got(std::min(kBytesPerStep, end - offset) / sizeof(float));
        stream.Copy(got.data(), data[rank]->data() + offset, got.size() * sizeof(float));
        stream.Synchronize();
        ASSERT_EQ(std::count(got.begin(), got.end(), sum), got.size())
            << "part " << part << ", within " << kBytesPerStep << " bytes from " << offset;
      }
      begin = end;
    }
  });
  OnEachRank([&](int rank) { data[rank].reset(); });
}

TEST_F(CommunicatorGpuTest, TwoGroupsCalledInOppositeOrderBothFinish) {
  if (devices_ < 2) GTEST_SKIP() << "needs two GPUs: four ranks do not fit on one at the same time";
  constexpr int kCalls = 48;
  Comms others;
  ASSERT_TRUE(FormGroup("first", comms_));
  ASSERT_TRUE(FormGroup("second", others));
  const SumPattern pattern(DataType::kFloat32, world_size_);
  std::vector<std::unique_ptr<Workspace>> other_work(comms_.size());
  OnEachRank([&](int rank) { other_work[rank] = std::make_unique<Workspace>(); });
  // Small ones, and those that fill a GPU.
  for (const size_t bytes :
       {size_t{8} << 10, size_t{512} << 10, size_t{2} << 20, size_t{8} << 20}) {
    const std::vector<uint8_t>* sums = &pattern.sums;
    OnEachRank([&](int rank) {
      const std::vector<uint8_t> input = Repeat(pattern.inputs[static_cast<size_t>(rank)], bytes);
      for (const Workspace* work : {work_[rank].get(), other_work[rank].get()}) {
        work->stream.Copy(work->memory.data(), input.data(), bytes);
        work->stream.Synchronize();
      }
    });
    const auto call = [bytes](int times, Communicator& comm, const Workspace& work) {
      uint8_t* in = work.memory.data();
      for (int i = 0; i < times; ++i) {
        EXPECT_THAT(comm.AllReduce(in, in + Workspace::kBytes / 2, bytes / 4, DataType::kFloat32,
                                   ReduceOp::kSum, work.stream.get()),
                    Succeeds());
      }
    };
    OnEachRank([&](int rank) {
      // One at a time, and some behind each other.
      for (const int burst : {1, 4}) {
        for (int round = 0; round < kCalls / burst; ++round) {
          if (rank % 2 == 0) call(burst, *comms_[rank], *work_[rank]);
          call(burst, *others[rank], *other_work[rank]);
          if (rank % 2 == 1) call(burst, *comms_[rank], *work_[rank]);
        }
      }
      for (const Workspace* work : {work_[rank].get(), other_work[rank].get()}) {
        EXPECT_THAT(Download(work->stream, work->memory.data() + Workspace::kBytes / 2, bytes),
                    Repeats(*sums));
      }
      EXPECT_THAT(comms_[rank]->GetStatus(), Succeeds());
      EXPECT_THAT(others[rank]->GetStatus(), Succeeds());
    });
    if (HasFailure()) return;
  }
}

TEST_F(CommunicatorGpuTest, GoesOnBesideAKernelThatHoldsAllMultiprocessorsButOne) {
  if (devices_ < 2) GTEST_SKIP() << "needs two GPUs: with one, two ranks share what is left of it";
  ASSERT_TRUE(FormGroup("busy", comms_));
  const SumPattern pattern(DataType::kBfloat16, world_size_);
  // A block, a block a multiprocessor, and several packets a thread.
  for (const size_t bytes : {size_t{1000}, size_t{1} << 20, size_t{8} << 20}) {
    std::vector<std::unique_ptr<SumCalls>> calls(comms_.size());
    std::vector<std::unique_ptr<BusyMultiprocessors>> busy(comms_.size());
    OnEachRank([&](int rank) {
      calls[rank] = std::make_unique<SumCalls>(*comms_[rank], pattern, rank, DataType::kBfloat16,
                                               bytes / ElementBytes(DataType::kBfloat16), 0);
    });
    // Once before, since what is loaded at its first use may wait for what runs.
    OnEachRank([&](int rank) { calls[rank]->Enqueue(); });
    OnEachRank([&](int rank) { calls[rank]->ExpectRight(); });
    OnEachRank([&](int rank) { busy[rank] = std::make_unique<BusyMultiprocessors>(1); });
    OnEachRank([&](int rank) { calls[rank]->Enqueue(); });
    OnEachRank([&](int rank) {
      calls[rank]->ExpectRight();
      EXPECT_TRUE(busy[rank]->AreHeld()) << "the calls of " << bytes << " bytes waited for them";
    });
    OnEachRank([&](int rank) { busy[rank].reset(); });
    if (HasFailure()) return;
  }
}

// The kernels before a call may overlap each other. The one that the call comes right behind does
// not wait for the one that makes its input.
TEST_F(CommunicatorGpuTest, SumsWhatALateKernelWritesThoughOneBetweenThemDoesNotWait) {
  ASSERT_TRUE(FormGroup("late", comms_));
  constexpr int kRounds = 10;
  // The call comes on a stream of its own, ordered by events.
  struct Elsewhere {
    Stream stream;
    Event written;
    Event summed;
  };
  // A packet a thread, and several.
  for (const auto& [count, is_elsewhere] : {std::pair{size_t{1000}, false},
                                            {size_t{1000}, true},
                                            {size_t{2} << 20, false},
                                            {size_t{2} << 20, true}}) {
    SCOPED_TRACE(testing::Message() << count << " elements" << (is_elsewhere ? ", elsewhere" : ""));
    std::vector<std::unique_ptr<LateWriter>> late(comms_.size());
    std::vector<std::unique_ptr<Elsewhere>> elsewhere(comms_.size());
    std::vector<std::unique_ptr<Graph>> graphs(comms_.size());
    const auto call = [&, count = count](int rank) {
      const Stream& stream = work_[rank]->stream;
      const Elsewhere* other = elsewhere[rank].get();
      late[rank]->Enqueue(stream.get());
      if (other != nullptr) {
        other->written.Record(stream);
        other->written.HoldBack(other->stream.get());
      }
      EXPECT_THAT(comms_[rank]->AllReduce(late[rank]->numbers(), work_[rank]->memory.data(), count,
                                          DataType::kFloat32, ReduceOp::kSum,
                                          (other != nullptr ? other->stream : stream).get()),
                  Succeeds());
      if (other != nullptr) {
        other->summed.Record(other->stream);
        other->summed.HoldBack(stream.get());
      }
    };
    OnEachRank([&, count = count, is_elsewhere = is_elsewhere](int rank) {
      late[rank] = std::make_unique<LateWriter>(count);
      if (is_elsewhere) elsewhere[rank] = std::make_unique<Elsewhere>();
      graphs[rank] = std::make_unique<Graph>(work_[rank]->stream, [&] { call(rank); });
    });
    std::vector<int> overlapped(comms_.size());
    for (int round = 1; round <= 2 * kRounds; ++round) {
      OnEachRank([&](int rank) {
        if (round % 2 == 0) {
          graphs[rank]->Launch();
        } else {
          call(rank);
        }
      });
      OnEachRank([&, count = count](int rank) {
        std::vector<float> sums(count);
        work_[rank]->stream.Copy(sums.data(), work_[rank]->memory.data(), count * sizeof(float));
        work_[rank]->stream.Synchronize();
        const auto is_right = [&](float sum) { return sum == world_size_ * round; };
        EXPECT_EQ(std::count_if(sums.begin(), sums.end(), is_right), count) << "round " << round;
        if (late[rank]->HaveOverlapped()) ++overlapped[rank];
      });
    }
    OnEachRank([&](int rank) {
      // Else nothing was tried, eagerly or in graphs.
      if (ComputeCapabilityMajor(Spec(rank).device) >= 9) {
        EXPECT_GT(overlapped[rank], kRounds);
      }
      EXPECT_THAT(comms_[rank]->GetStatus(), Succeeds());
    });
    OnEachRank([&](int rank) {
      graphs[rank].reset();
      elsewhere[rank].reset();
      late[rank].reset();
    });
    if (HasFailure()) return;
  }
}

// The kernel behind a call begins before the call has ended, and finds its sums behind its wait.
TEST_F(CommunicatorGpuTest, AKernelThatOverlapsACallAndWaitsFindsItsSums) {
  ASSERT_TRUE(FormGroup("early", comms_));
  constexpr int kRounds = 10;
  // Short calls let the next kernel in as their packets come, which is seen where they take long
  // enough; those of several packets a thread, never.
  constexpr size_t kLongEnough = 100'000;
  for (const size_t count : {size_t{1000}, kLongEnough, size_t{2} << 20}) {
    std::atomic<uint32_t> seen_changing = 0;
    std::vector<std::unique_ptr<EarlyReader>> readers(comms_.size());
    std::vector<std::unique_ptr<Graph>> graphs(comms_.size());
    const auto call = [&](int rank) {
      float* in = reinterpret_cast<float*>(work_[rank]->memory.data());
      float* sums = in + Workspace::kBytes / 2 / sizeof(float);
      const cudaStream_t stream = work_[rank]->stream.get();
      EXPECT_THAT(
          comms_[rank]->AllReduce(in, sums, count, DataType::kFloat32, ReduceOp::kSum, stream),
          Succeeds());
      readers[rank]->Enqueue(sums, stream);
    };
    OnEachRank([&](int rank) {
      readers[rank] = std::make_unique<EarlyReader>(count);
      graphs[rank] = std::make_unique<Graph>(work_[rank]->stream, [&] { call(rank); });
    });
    for (int round = 1; round <= 2 * kRounds; ++round) {
      OnEachRank([&](int rank) {
        const std::vector<float> input(count, static_cast<float>(round));
        work_[rank]->stream.Copy(work_[rank]->memory.data(), input.data(), count * sizeof(float));
        work_[rank]->stream.Synchronize();
      });
      OnEachRank([&](int rank) {
        // So that the others' calls wait, and what is behind them is there.
        if (rank == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (round % 2 == 0) {
          graphs[rank]->Launch();
        } else {
          call(rank);
        }
      });
      OnEachRank([&](int rank) {
        std::vector<float> sums(count);
        work_[rank]->stream.Copy(sums.data(), readers[rank]->copies(), count * sizeof(float));
        work_[rank]->stream.Synchronize();
        const auto is_right = [&](float sum) { return sum == world_size_ * round; };
        EXPECT_EQ(std::count_if(sums.begin(), sums.end(), is_right), count) << "round " << round;
      });
    }
    OnEachRank([&](int rank) {
      seen_changing += readers[rank]->CountSeenChanging();
      EXPECT_THAT(comms_[rank]->GetStatus(), Succeeds());
    });
    // Else nothing was tried.
    if (count == kLongEnough && ComputeCapabilityMajor(0) >= 9) {
      EXPECT_GT(seen_changing, 0u);
    }
    OnEachRank([&](int rank) {
      graphs[rank].reset();
      readers[rank].reset();
    });
    if (HasFailure()) return;
  }
}

TEST_F(CommunicatorGpuTest, SharedBuffersAreZeroAndWrittenByPeers) {
  ASSERT_TRUE(FormGroup("shared", comms_));
  OnEachRank([this](int rank) { ExpectSharedBuffers(*comms_[rank], Spec(rank), *work_[rank]); });
}

// --- the process's devices

TEST_F(CommunicatorGpuTest, LeavesTheCurrentDeviceAsItWas) {
  if (devices_ < 2) GTEST_SKIP() << "needs two GPUs: with one, it is always current";
  const std::vector<float> ones(1000, 1);
  const size_t bytes = ones.size() * sizeof(float);
  OnEachRank([&](int rank) {
    work_[rank]->stream.Copy(work_[rank]->memory.data(), ones.data(), bytes);
    work_[rank]->stream.Synchronize();
  });
  OnEachRank([&](int rank) {
    const int other = (Spec(rank).device + 1) % devices_;
    const auto expect_other = [other](const char* after) {
      int device = -1;
      CHECK_CUDA(cudaGetDevice(&device));
      EXPECT_EQ(device, other) << after;
    };
    void* data = work_[rank]->memory.data();
    CHECK_CUDA(cudaSetDevice(other));
    {
      Result<Communicator> comm =
          Communicator::Create(RankOptions(Spec(rank), "devices", runtime_dir()));
      ASSERT_THAT(comm.status(), Succeeds());
      expect_other("Create");
      EXPECT_THAT(comm->AllReduce(data, data, ones.size(), DataType::kFloat32, ReduceOp::kSum,
                                  work_[rank]->stream.get()),
                  Succeeds());
      expect_other("AllReduce");
      Result<SharedBuffer> shared = comm->AllocateShared(4096);
      ASSERT_THAT(shared.status(), Succeeds());
      expect_other("AllocateShared");
      shared->Free();
      expect_other("Free");
    }
    expect_other("its end");
    CHECK_CUDA(cudaSetDevice(Spec(rank).device));
    std::vector<float> sums(ones.size());
    work_[rank]->stream.Copy(sums.data(), data, bytes);
    work_[rank]->stream.Synchronize();
    EXPECT_THAT(sums, ::testing::Each(static_cast<float>(world_size_)));
  });
}

TEST_F(CommunicatorGpuTest, MakesAContextOnTheRanksGpuAlone) {
  if (devices_ < 2) GTEST_SKIP() << "needs two GPUs: with one, there is no other";
  // Rank 0 on the last GPU, so that a context on the first would be a stray one.
  const pid_t workers[] = {
      StartWorker(WorkerCheck::kMakesOneContext,
                  {.rank = 0, .world_size = 2, .device = devices_ - 1}, runtime_dir(), ""),
      StartWorker(WorkerCheck::kMakesOneContext, {.rank = 1, .world_size = 2, .device = 0},
                  runtime_dir(), "")};
  for (const pid_t worker : workers) EXPECT_TRUE(WorkerSucceeded(worker));
}

TEST_F(CommunicatorGpuTest, ProcessesThatSeeOneGpuEachReduceTogether) {
  if (devices_ < 2) GTEST_SKIP() << "needs two GPUs: with one, both processes see the same";
  const auto start = [this](int rank, int device) {
    return StartWorker(WorkerCheck::kSeesOneGpu, {.rank = rank, .world_size = 2, .device = 0},
                       runtime_dir(), GpuUuid(device));
  };
  const pid_t workers[] = {start(0, 0), start(1, devices_ - 1)};
  for (const pid_t worker : workers) EXPECT_TRUE(WorkerSucceeded(worker));
}

// --- the end of a group

// Asks for the status until it gives this cause; at most two seconds.
void ExpectEnds(Communicator& comm, const std::string& text) {
  const Clock::time_point begin = Clock::now();
  Status status = comm.GetStatus();
  while (status.message().find(text) == std::string::npos && MillisecondsSince(begin) < 2000) {
    std::this_thread::yield();
    status = comm.GetStatus();
  }
  EXPECT_THAT(status, Fails(NODECOMM_ABORTED, HasSubstr(text)));
}

TEST_F(CommunicatorGpuTest, RankThatStopsCallingIsNamedAndReplaysEnd) {
  constexpr int kReplays = 10;
  const int missing = world_size_ - 1;
  const std::string text = "rank " + std::to_string(missing) + " did not come in time";
  for (const size_t count : {size_t{1}, size_t{1} << 20}) {
    ASSERT_TRUE(
        FormGroup("stops", comms_, [](Options& options) { options.call_timeout_ms = 200; }));
    std::vector<std::unique_ptr<Graph>> graphs(comms_.size());
    OnEachRank([&](int rank) {
      graphs[rank] = std::make_unique<Graph>(work_[rank]->stream, [&] {
        void* data = work_[rank]->memory.data();
        EXPECT_THAT(comms_[rank]->AllReduce(data, data, count, DataType::kFloat32, ReduceOp::kSum,
                                            work_[rank]->stream.get()),
                    Succeeds());
      });
    });
    OnEachRank([&](int rank) {
      graphs[rank]->Launch();
      work_[rank]->stream.Synchronize();
      EXPECT_THAT(comms_[rank]->GetStatus(), Succeeds());
    });
    OnEachRank([&](int rank) {
      const Clock::time_point begin = Clock::now();
      if (rank != missing) {
        graphs[rank]->Launch();
        work_[rank]->stream.Synchronize();
      }
      ExpectEnds(*comms_[rank], text);
      EXPECT_LT(MillisecondsSince(begin), 2000);
    });
    OnEachRank([&](int rank) {
      // Each that waited would take 200 ms.
      const Clock::time_point begin = Clock::now();
      for (int replay = 0; replay < kReplays; ++replay) graphs[rank]->Launch();
      work_[rank]->stream.Synchronize();
      EXPECT_LT(MillisecondsSince(begin), 100);
      void* data = work_[rank]->memory.data();
      EXPECT_THAT(comms_[rank]->AllReduce(data, data, count, DataType::kFloat32, ReduceOp::kSum,
                                          work_[rank]->stream.get()),
                  Fails(NODECOMM_ABORTED, HasSubstr("did not come in time")));
    });
    graphs.clear();
    DestroyGroup(comms_);
    ASSERT_TRUE(FormGroup("stops", comms_));
    MeetAll();
    DestroyGroup(comms_);
  }
}

// Of replays, in checked mode alone.
TEST_F(CommunicatorGpuTest, CallsOnTwoStreamsWithoutAnOrderAreAnErrorThatSaysSo) {
  // One launch each: a second of the same call would wait behind the first, and with it whatever
  // else the driver has put into the same queue.
  constexpr std::pair<size_t, size_t> kCounts[] = {{1, 1}, {1, 1 << 17}, {1 << 17, 1}};
  const std::string text = "two all-reduces of rank 0 overlapped";
  std::optional<Stream> other_stream;
  std::thread([&] {
    CHECK_CUDA(cudaSetDevice(Spec(0).device));
    other_stream.emplace();
  }).join();
  for (const bool is_replayed : {false, true}) {
    for (const auto& [first, second] : kCounts) {
      SCOPED_TRACE(testing::Message() << first << " and " << second << " elements"
                                      << (is_replayed ? ", replayed" : ""));
      ASSERT_TRUE(
          FormGroup("streams", comms_, [&](Options& options) { options.checked = is_replayed; }));
      MeetAll();
      const auto call = [&](size_t count, size_t offset, const Stream& stream) {
        uint8_t* data = work_[0]->memory.data() + offset;
        EXPECT_THAT(comms_[0]->AllReduce(data, data, count, DataType::kFloat32, ReduceOp::kSum,
                                         stream.get()),
                    Succeeds());
      };
      const auto call_first = [&, count = first] { call(count, 0, work_[0]->stream); };
      const auto call_second = [&, count = second] {
        call(count, Workspace::kBytes / 2, *other_stream);
      };
      std::optional<Graph> first_graph;
      std::optional<Graph> second_graph;
      OnEachRank([&](int rank) {
        if (rank != 0 || !is_replayed) return;
        first_graph.emplace(work_[0]->stream, call_first);
        second_graph.emplace(*other_stream, call_second);
      });
      OnEachRank([&](int rank) {
        if (rank != 0) return ExpectEnds(*comms_[rank], text);
        // Nobody else calls, so neither can end before the other begins.
        const Clock::time_point begin = Clock::now();
        if (is_replayed) {
          first_graph->Launch();
          second_graph->Launch();
        } else {
          call_first();
          call_second();
        }
        work_[rank]->stream.Synchronize();
        other_stream->Synchronize();
        // Of 20 s that a call waits for a rank that is late.
        EXPECT_LT(MillisecondsSince(begin), 1000);
        ExpectEnds(*comms_[rank], text);
      });
      DestroyGroup(comms_);
    }
  }
}

TEST_F(CommunicatorGpuTest, CheckedModeNamesTheFirstDifferenceAlsoInReplays) {
  const int differing = world_size_ - 1;
  const std::string text = absl::StrFormat(
      "all-reduce no. 4 with 4000 bytes of float32, but rank %d with 2000 bytes of bfloat16",
      differing);
  for (const bool replayed : {false, true}) {
    ASSERT_TRUE(FormGroup("checked", comms_, [](Options& options) { options.checked = true; }));
    const auto call = [this](int rank, DataType type) {
      void* data = work_[rank]->memory.data();
      EXPECT_THAT(comms_[rank]->AllReduce(data, data, 1000, type, ReduceOp::kSum,
                                          work_[rank]->stream.get()),
                  Succeeds());
    };
    std::vector<std::unique_ptr<Graph>> same(comms_.size());
    std::vector<std::unique_ptr<Graph>> different(comms_.size());
    OnEachRank([&](int rank) {
      same[rank] =
          std::make_unique<Graph>(work_[rank]->stream, [&] { call(rank, DataType::kFloat32); });
      different[rank] =
          std::make_unique<Graph>(work_[rank]->stream, [&] { call(rank, DataType::kBfloat16); });
    });
    MeetAll();
    OnEachRank([&](int rank) {
      same[rank]->Launch();
      same[rank]->Launch();
      if (replayed) {
        (rank == differing ? different : same)[rank]->Launch();
      } else {
        call(rank, rank == differing ? DataType::kBfloat16 : DataType::kFloat32);
      }
      work_[rank]->stream.Synchronize();
      ExpectEnds(*comms_[rank], text);
    });
    OnEachRank([&](int rank) {
      const Clock::time_point begin = Clock::now();
      same[rank]->Launch();
      work_[rank]->stream.Synchronize();
      EXPECT_LT(MillisecondsSince(begin), 100);
    });
    same.clear();
    different.clear();
    DestroyGroup(comms_);
  }
}

TEST_F(CommunicatorGpuTest, LeavingEndsLaterCallsButNoneThatBegan) {
  const int leaver = world_size_ - 1;
  const std::string text = "rank " + std::to_string(leaver) + " has left";
  ASSERT_TRUE(FormGroup("leaves", comms_));
  std::vector<std::unique_ptr<Graph>> graphs(comms_.size());
  OnEachRank([&](int rank) {
    void* data = work_[rank]->memory.data();
    graphs[rank] = std::make_unique<Graph>(work_[rank]->stream, [&] {
      EXPECT_THAT(comms_[rank]->AllReduce(data, data, 1000, DataType::kFloat32, ReduceOp::kSum,
                                          work_[rank]->stream.get()),
                  Succeeds());
    });
    const std::vector<float> ones(1000, 1);
    work_[rank]->stream.Copy(data, ones.data(), ones.size() * sizeof(float));
    work_[rank]->stream.Synchronize();
  });
  OnEachRank([&](int rank) {
    graphs[rank]->Launch();
    if (rank == leaver) {
      EXPECT_THAT(comms_[rank]->Leave(), Succeeds());
    }
    work_[rank]->stream.Synchronize();
    float sum = 0;
    work_[rank]->stream.Copy(&sum, work_[rank]->memory.data(), sizeof(sum));
    work_[rank]->stream.Synchronize();
    EXPECT_EQ(sum, static_cast<float>(world_size_));
  });
  OnEachRank([&](int rank) {
    if (rank == leaver) return;
    const Clock::time_point begin = Clock::now();
    graphs[rank]->Launch();
    work_[rank]->stream.Synchronize();
    // Of 20 s that a call waits for a rank that is late.
    EXPECT_LT(MillisecondsSince(begin), 1000);
    EXPECT_THAT(comms_[rank]->GetStatus(), Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr(text)));
    void* data = work_[rank]->memory.data();
    EXPECT_THAT(comms_[rank]->AllReduce(data, data, 1, DataType::kFloat32, ReduceOp::kSum,
                                        work_[rank]->stream.get()),
                Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr(text)));
  });
}

// A capture of somebody else on the current GPU, which CUDA ends if somebody waits beside it.
class ForeignCapture {
 public:
  explicit ForeignCapture(cudaStreamCaptureMode mode) {
    CHECK_CUDA(cudaStreamBeginCapture(stream_.get(), mode));
  }
  ~ForeignCapture() { End(); }
  ForeignCapture(const ForeignCapture&) = delete;
  ForeignCapture& operator=(const ForeignCapture&) = delete;

  // Whether nobody has broken it. Once, in the thread that began it.
  bool End() {
    if (std::exchange(has_ended_, true)) return false;
    cudaGraph_t graph = nullptr;
    const cudaError_t error = cudaStreamEndCapture(stream_.get(), &graph);
    if (graph != nullptr) CHECK_CUDA(cudaGraphDestroy(graph));
    cudaGetLastError();
    return error == cudaSuccess;
  }

 private:
  const Stream stream_;
  bool has_ended_ = false;
};

constexpr cudaStreamCaptureMode kCaptureModes[] = {
    cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed};

// Of threads that know nothing of it, as an engine's that captures one model while it loads
// another.
TEST_F(CommunicatorGpuTest, JoinsCallsAndSharesBesideACaptureAndDoesNotBreakIt) {
  CHECK_CUDA(cudaSetDevice(Spec(0).device));
  for (const cudaStreamCaptureMode mode : kCaptureModes) {
    SCOPED_TRACE(testing::Message() << "mode " << mode);
    ForeignCapture capture(mode);
    ASSERT_TRUE(FormGroup("beside-capture-" + std::to_string(mode), comms_));
    OnEachRank([this](int rank) {
      Result<SharedBuffer> shared = comms_[rank]->AllocateShared(4096);
      ASSERT_THAT(shared.status(), Succeeds());
      MeetOthers(*comms_[rank], world_size_, *work_[rank]);
      shared->Free();
      MeetOthers(*comms_[rank], world_size_, *work_[rank]);
    });
    EXPECT_TRUE(capture.End());
    DestroyGroup(comms_);
    ASSERT_FALSE(HasFailure());
  }
}

TEST_F(CommunicatorGpuTest, LeavingBesideACaptureIsRefusedAndMayBeRepeated) {
  ASSERT_TRUE(FormGroup("captures", comms_));
  CHECK_CUDA(cudaSetDevice(Spec(0).device));
  for (const cudaStreamCaptureMode mode : kCaptureModes) {
    const ForeignCapture capture(mode);
    EXPECT_THAT(comms_[0]->Leave(),
                Fails(NODECOMM_FAILED_PRECONDITION, HasSubstr("a graph is being captured")));
  }
  MeetAll();
  OnEachRank([&](int rank) { EXPECT_THAT(comms_[rank]->GetStatus(), Succeeds()); });
  OnEachRank([&](int rank) { EXPECT_THAT(comms_[rank]->Leave(), Succeeds()); });
}

// It launched no kernel of ours, so there is nothing to wait for.
TEST_F(CommunicatorGpuTest, GroupWithoutFastPathIsLeftBesideACapture) {
  const absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon =
      StartDaemon("group { disable_fast_path: true allow_gpu_sharing: true }");
  ASSERT_OK(daemon.status());
  ASSERT_TRUE(FormGroup("slow", comms_,
                        [&](Options& options) { options.runtime_dir = (*daemon)->runtime_dir(); }));
  CHECK_CUDA(cudaSetDevice(Spec(0).device));
  EXPECT_FALSE(comms_[0]->Supports(1024, DataType::kFloat32));
  {
    const ForeignCapture capture(cudaStreamCaptureModeGlobal);
    EXPECT_THAT(comms_[0]->Leave(), Succeeds());
  }
  DestroyGroup(comms_);  // before its daemon ends
}

TEST_F(CommunicatorGpuTest, DestroyingBesideACaptureAbortsTheGroup) {
  ASSERT_TRUE(FormGroup("captures-destroyed", comms_));
  CHECK_CUDA(cudaSetDevice(Spec(0).device));
  {
    const ForeignCapture capture(cudaStreamCaptureModeThreadLocal);
    comms_[0].reset();
  }
  OnEachRank([&](int rank) {
    if (rank == 0) return;
    const Clock::time_point begin = Clock::now();
    while (comms_[rank]->GetStatus().ok() && MillisecondsSince(begin) < 5000) {
      std::this_thread::yield();
    }
    EXPECT_THAT(comms_[rank]->GetStatus(),
                Fails(NODECOMM_ABORTED, HasSubstr("rank 0 destroyed its communicator")));
  });
}

// --- joining

TEST_F(CommunicatorGpuTest, JoinsInTime) {
  constexpr int kRounds = 5;
  // The rendezvous of ranks whose CUDA is initialised may take 50 ms. Mapping comes on top: 2.7 ms
  // a plane were measured (H100), and the driver maps one at a time in a process.
  constexpr double kRendezvousMsMax = 50;
  constexpr double kMappingMs = 3;
  const double limit_ms = kRendezvousMsMax + kMappingMs * world_size_ * world_size_;
  ASSERT_TRUE(FormGroup("join", comms_));
  DestroyGroup(comms_);
  for (const size_t plane_bytes : {size_t{0}, size_t{2} << 20}) {
    std::vector<double> rounds_ms;
    for (int round = 0; round < kRounds; ++round) {
      std::latch start(world_size_);
      std::vector<double> ranks_ms(comms_.size());
      OnEachRank([&](int rank) {
        Options options = RankOptions(Spec(rank), "join", runtime_dir());
        options.plane_bytes = plane_bytes;
        start.arrive_and_wait();
        const Clock::time_point begin = Clock::now();
        Result<Communicator> comm = Communicator::Create(options);
        ranks_ms[rank] = MillisecondsSince(begin);
        ASSERT_THAT(comm.status(), Succeeds());
        comms_[rank] = *std::move(comm);
      });
      DestroyGroup(comms_);
      rounds_ms.push_back(*std::max_element(ranks_ms.begin(), ranks_ms.end()));
    }
    std::string all;
    for (const double ms : rounds_ms) absl::StrAppendFormat(&all, " %.1f", ms);
    std::sort(rounds_ms.begin(), rounds_ms.end());
    const double median_ms = rounds_ms[kRounds / 2];
    std::printf(
        "join of %d ranks, planes of %s: median %.1f ms, limit for 2 MiB %.0f ms; each:%s\n",
        world_size_, plane_bytes == 0 ? "the default size" : "2 MiB", median_ms, limit_ms,
        all.c_str());
    if (plane_bytes != 0) {
      EXPECT_LT(median_ms, limit_ms);
    }
  }
}

}  // namespace
}  // namespace nodecomm

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  // What the caller's shell has set for workers is not meant for these tests.
  unsetenv("NODECOMM_DISABLE");
  unsetenv("NODECOMM_RUNTIME_DIR");
  if (nodecomm::IsWorker(argc, argv)) return nodecomm::RunWorker(argv);
  return RUN_ALL_TESTS();
}
