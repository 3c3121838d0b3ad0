// What is launched for a call, without a GPU: launches are written down.
#include "kernels/all_reduce_cuda.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "kernels/plane_layout.h"

namespace {
std::atomic<int> allocations = 0;
}  // namespace

// This program's, so that a test sees what a call allocates.
void* operator new(size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes); memory != nullptr) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t /*bytes*/) noexcept { std::free(memory); }

namespace nodecomm::kernels {
namespace {

struct Launched {
  CUfunction kernel;
  unsigned blocks;
  unsigned threads;
  CUstream stream;
  bool may_overlap;  // the kernel before it
  Call call;
};

// The test's driver. One for all, as functions of the real one's kind know nothing else.
struct Driver {
  std::vector<Launched> launched;
  bool capturing = false;
  CUresult answer = CUDA_SUCCESS;
};
Driver driver;

bool MayOverlap(const CUlaunchConfig& config) {
  return std::any_of(config.attrs, config.attrs + config.numAttrs, [](const auto& attribute) {
    return attribute.id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION &&
           attribute.value.programmaticStreamSerializationAllowed != 0;
  });
}

CUresult WriteDown(const CUlaunchConfig* config, CUfunction kernel, void** arguments,
                   void** /*extra*/) {
  Launched launched = {.kernel = kernel,
                       .blocks = config->gridDimX,
                       .threads = config->blockDimX,
                       .stream = config->hStream,
                       .may_overlap = MayOverlap(*config)};
  std::memcpy(&launched.call, arguments[0], sizeof(Call));
  driver.launched.push_back(launched);
  return driver.answer;
}

CUresult IsCapturing(CUstream /*stream*/, CUstreamCaptureStatus* status) {
  *status = driver.capturing ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
  return CUDA_SUCCESS;
}

CUfunction Handle(size_t index) { return reinterpret_cast<CUfunction>(index + 1); }

LoadedKernels Kernels() {
  LoadedKernels kernels;
  for (size_t i = 0; i < kernels.functions.size(); ++i) kernels.functions[i] = Handle(i);
  kernels.check = Handle(kernels.functions.size());
  kernels.launch = &WriteDown;
  kernels.is_capturing = &IsCapturing;
  return kernels;
}

Binding FourRanks() {
  Binding binding = {.rank = Rank{1},
                     .shape = {.world_size = WorldSize{4},
                               .layout = LayOutPlane(kPlaneBytesDefault, WorldSize{4}),
                               .multiprocessors = 132,
                               .architecture = 90},
                     .timeout_ns = 7,
                     .compute_capability_major = 9};
  for (size_t r = 0; r < 4; ++r) {
    binding.planes[r] = reinterpret_cast<std::byte*>((r + 1) << 32);
  }
  return binding;
}

const CUstream kStream = reinterpret_cast<CUstream>(0x10);

class AllReduceCudaTest : public testing::Test {
 protected:
  AllReduceCudaTest() { driver = {}; }

  // The launches of one call by `calls`.
  static std::vector<Launched> LaunchesOf(AllReduceCalls& calls, const Message& message) {
    driver.launched.clear();
    EXPECT_TRUE(calls.Enqueue(message, kStream).ok());
    return driver.launched;
  }
  // The same by who has called nothing before.
  static std::vector<Launched> FirstLaunchesOf(const Binding& binding, const Message& message) {
    AllReduceCalls calls(Kernels(), binding);
    return LaunchesOf(calls, message);
  }

  static void ExpectSame(const std::vector<Launched>& ours, const std::vector<Launched>& theirs) {
    ASSERT_EQ(ours.size(), theirs.size());
    for (size_t i = 0; i < ours.size(); ++i) {
      EXPECT_EQ(ours[i].kernel, theirs[i].kernel);
      EXPECT_EQ(ours[i].blocks, theirs[i].blocks);
      EXPECT_EQ(ours[i].threads, theirs[i].threads);
      EXPECT_EQ(ours[i].stream, kStream);
      EXPECT_EQ(ours[i].call.in, theirs[i].call.in);
      EXPECT_EQ(ours[i].call.out, theirs[i].call.out);
      EXPECT_EQ(ours[i].call.bytes, theirs[i].call.bytes);
      EXPECT_EQ(ours[i].call.packets, theirs[i].call.packets);
      EXPECT_EQ(ours[i].call.chunks, theirs[i].call.chunks);
      EXPECT_EQ(ours[i].call.whole_packets, theirs[i].call.whole_packets);
      EXPECT_EQ(ours[i].call.rank, 1);
      EXPECT_EQ(ours[i].call.planes[0], FourRanks().planes[1]);
      EXPECT_EQ(ours[i].call.timeout_ns, 7u);
    }
  }

  alignas(16) static inline std::byte memory_[4096];
};

Message MessageOf(const std::byte* in, std::byte* out, size_t count,
                  ElementType type = ElementType::kBfloat16) {
  return {.in = in, .out = out, .count = count, .type = type};
}

TEST_F(AllReduceCudaTest, EveryCallIsWhatAFirstOneWouldBe) {
  // Each differs from the one before, or not, in what a plan depends on: count, type, alignment,
  // both buffers.
  const std::vector<Message> messages = {MessageOf(memory_, memory_, 512),
                                         MessageOf(memory_, memory_, 512),
                                         MessageOf(memory_ + 1024, memory_ + 2048, 512),
                                         MessageOf(memory_, memory_ + 2, 512),
                                         MessageOf(memory_ + 2, memory_ + 2, 512),
                                         MessageOf(memory_, memory_, 512, ElementType::kFloat16),
                                         MessageOf(memory_, memory_, 512, ElementType::kFloat32),
                                         MessageOf(memory_, memory_, 511),
                                         MessageOf(memory_, memory_, 4 << 20),
                                         MessageOf(memory_, memory_, 512),
                                         MessageOf(nullptr, nullptr, 0),
                                         MessageOf(memory_, memory_, 512)};
  AllReduceCalls calls(Kernels(), FourRanks());
  for (size_t i = 0; i < messages.size(); ++i) {
    SCOPED_TRACE(i);
    const std::vector<Launched> launches = LaunchesOf(calls, messages[i]);
    EXPECT_EQ(launches.size(), messages[i].count == 0 ? 0u : 1u);
    ExpectSame(launches, FirstLaunchesOf(FourRanks(), messages[i]));
  }
}

TEST_F(AllReduceCudaTest, ACallInAGraphHasAnotherKernelThanAnEagerOne) {
  AllReduceCalls calls(Kernels(), FourRanks());
  const Message message = MessageOf(memory_, memory_, 512);
  const CUfunction eager = LaunchesOf(calls, message)[0].kernel;
  driver.capturing = true;
  const CUfunction captured = LaunchesOf(calls, message)[0].kernel;
  EXPECT_NE(captured, eager);
  driver.capturing = false;
  EXPECT_EQ(LaunchesOf(calls, message)[0].kernel, eager);
}

TEST_F(AllReduceCudaTest, CheckedModeChecksEveryCall) {
  Binding binding = FourRanks();
  binding.checked = true;
  AllReduceCalls calls(Kernels(), binding);
  for (int i = 0; i < 3; ++i) {
    const std::vector<Launched> launches = LaunchesOf(calls, MessageOf(memory_, memory_, 512));
    ASSERT_EQ(launches.size(), 2u);
    EXPECT_EQ(launches[0].kernel, Kernels().check);
    EXPECT_NE(launches[1].kernel, Kernels().check);
  }
  EXPECT_EQ(LaunchesOf(calls, MessageOf(nullptr, nullptr, 0)).size(), 1u);
}

// Lean code proves nothing, and checked mode promises to find replays that overlap.
TEST_F(AllReduceCudaTest, CheckedCallsAreAsEagerOnesAlsoWhereTheyAreCaptured) {
  Binding binding = FourRanks();
  binding.checked = true;
  const Message message = MessageOf(memory_, memory_, 512);
  const CUfunction eager = FirstLaunchesOf(FourRanks(), message)[0].kernel;
  driver.capturing = true;
  EXPECT_EQ(FirstLaunchesOf(binding, message)[1].kernel, eager);
  EXPECT_NE(FirstLaunchesOf(FourRanks(), message)[0].kernel, eager);
}

TEST_F(AllReduceCudaTest, LaunchesOverlapWhatIsBeforeThemFromHopperOn) {
  for (const int major : {8, 9, 10, 12}) {
    for (const bool checked : {false, true}) {
      Binding binding = FourRanks();
      binding.compute_capability_major = major;
      binding.checked = checked;
      for (const size_t count : {512, 4 << 20}) {
        const auto launches = FirstLaunchesOf(binding, MessageOf(memory_, memory_, count));
        ASSERT_FALSE(launches.empty());
        for (const Launched& launched : launches) EXPECT_EQ(launched.may_overlap, major >= 9);
      }
    }
  }
}

TEST_F(AllReduceCudaTest, CallsAllocateNothing) {
  for (const bool checked : {false, true}) {
    Binding binding = FourRanks();
    binding.checked = checked;
    AllReduceCalls calls(Kernels(), binding);
    driver.launched.clear();
    driver.launched.reserve(100);
    const int before = allocations;
    for (int i = 0; i < 3; ++i) {
      for (const size_t count : {512, 511, 4 << 20}) {
        driver.capturing = i == 2;
        EXPECT_TRUE(calls.Enqueue(MessageOf(memory_, memory_, count), kStream).ok());
      }
    }
    EXPECT_EQ(allocations, before);
    EXPECT_GE(driver.launched.size(), 9u);
  }
}

TEST_F(AllReduceCudaTest, SeveralLaunchesAreAsManyTheNextTime) {
  Binding binding = FourRanks();
  binding.shape.algorithm_override = Algorithm::kOneShot;
  AllReduceCalls calls(Kernels(), binding);
  const Message large = MessageOf(memory_, memory_, 4 << 20);
  const std::vector<Launched> first = LaunchesOf(calls, large);
  EXPECT_GT(first.size(), 1u);
  ExpectSame(LaunchesOf(calls, large), first);
}

TEST_F(AllReduceCudaTest, NullIsRefusedAfterTheSameWithMemory) {
  AllReduceCalls calls(Kernels(), FourRanks());
  LaunchesOf(calls, MessageOf(memory_, memory_, 512));
  driver.launched.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(calls.Enqueue(MessageOf(nullptr, memory_, 512), kStream)));
  EXPECT_TRUE(absl::IsInvalidArgument(calls.Enqueue(MessageOf(memory_, nullptr, 512), kStream)));
  EXPECT_TRUE(driver.launched.empty());
}

TEST_F(AllReduceCudaTest, ALaunchThatFailedIsAnErrorEveryTime) {
  AllReduceCalls calls(Kernels(), FourRanks());
  driver.answer = CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(calls.Enqueue(MessageOf(memory_, memory_, 512), kStream).ok());
  }
  EXPECT_EQ(driver.launched.size(), 3u);
  driver.answer = CUDA_SUCCESS;
  ExpectSame(LaunchesOf(calls, MessageOf(memory_, memory_, 512)),
             FirstLaunchesOf(FourRanks(), MessageOf(memory_, memory_, 512)));
}

}  // namespace
}  // namespace nodecomm::kernels
