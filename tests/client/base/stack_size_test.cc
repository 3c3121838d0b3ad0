// Stacks in a process whose limit was low at its start. In children: the limits are the process's.
#include "client/base/stack_size.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>

namespace nodecomm {
namespace {

constexpr rlim_t kLow = 192 << 10;

void* GetStackSize(void* bytes) {
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstacksize(&attributes, static_cast<size_t*>(bytes));
  pthread_attr_destroy(&attributes);
  return nullptr;
}

// As a process that was started with a low limit has it.
void SetDefaultOfThreads(size_t bytes) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, bytes);
  pthread_setattr_default_np(&attributes);
  pthread_attr_destroy(&attributes);
}

void Limit(rlim_t soft, rlim_t hard) {
  const rlimit limit = {.rlim_cur = soft, .rlim_max = hard};
  if (setrlimit(RLIMIT_STACK, &limit) != 0) _exit(3);
}

[[noreturn]] void TryWithLowSoftLimit() {
  Limit(kLow, 16 << 20);
  SetDefaultOfThreads(kLow);
  if (!MakeRoomForStacks().ok()) _exit(1);
  pthread_t thread;
  size_t bytes = 0;
  if (pthread_create(&thread, nullptr, &GetStackSize, &bytes) != 0) _exit(3);
  pthread_join(thread, nullptr);
  rlimit limit = {};
  getrlimit(RLIMIT_STACK, &limit);
  _exit(bytes >= 2 << 20 && limit.rlim_cur == 8 << 20 && limit.rlim_max == 16 << 20 ? 0 : 2);
}

[[noreturn]] void TryWithLowHardLimit() {
  Limit(kLow, kLow);
  const absl::Status made = MakeRoomForStacks();
  if (absl::IsResourceExhausted(made)) fputs(std::string(made.message()).c_str(), stderr);
  _exit(made.ok() ? 1 : 0);
}

TEST(StackSize, LowLimitsAreRaisedForTheProcessAndItsThreads) {
  EXPECT_EXIT(TryWithLowSoftLimit(), testing::ExitedWithCode(0), "");
}

TEST(StackSize, HardLimitThatIsTooLowIsNamed) {
  EXPECT_EXIT(TryWithLowHardLimit(), testing::ExitedWithCode(0),
              "the stack may have 196608 bytes, of at least 262144: raise LimitSTACK=");
}

}  // namespace
}  // namespace nodecomm
