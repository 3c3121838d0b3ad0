#include "tests/gpu/communicator_worker.h"

#include <cuda.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/gpu/sum_pattern.h"

namespace nodecomm {
namespace {

constexpr char kArgument[] = "--worker";
constexpr int kArguments = 7;
constexpr unsigned kSecondsMax = 60;
constexpr std::string_view kVisibleDevices = "CUDA_VISIBLE_DEVICES=";

using GetContextState = CUresult (*)(CUdevice device, unsigned* flags, int* active);

GetContextState FindGetContextState() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  CHECK_CUDA(cudaGetDriverEntryPointByVersion("cuDevicePrimaryCtxGetState", &function, 12040,
                                              cudaEnableDefault, &found));
#else
  CHECK_CUDA(
      cudaGetDriverEntryPoint("cuDevicePrimaryCtxGetState", &function, cudaEnableDefault, &found));
#endif
  return found == cudaDriverEntryPointSuccess ? reinterpret_cast<GetContextState>(function)
                                              : nullptr;
}

int DeviceCount() {
  int devices = 0;
  CHECK_CUDA(cudaGetDeviceCount(&devices));
  return devices;
}

// Devices on which this process has a primary context.
std::vector<int> DevicesWithContext() {
  static const GetContextState get_state = FindGetContextState();
  std::vector<int> devices;
  for (int device = 0; device < DeviceCount(); ++device) {
    unsigned flags = 0;
    int active = 0;
    EXPECT_EQ(get_state(device, &flags, &active), CUDA_SUCCESS);
    if (active != 0) devices.push_back(device);
  }
  return devices;
}

int CurrentDevice() {
  int device = -1;
  CHECK_CUDA(cudaGetDevice(&device));
  return device;
}

// In a thread, so that this one's current device stays as it is.
void OnDevice(int device, const std::function<void()>& body) {
  std::thread([&] {
    CHECK_CUDA(cudaSetDevice(device));
    body();
  }).join();
}

void CheckWithOneGpu(const RankSpec& spec, const std::string& runtime_dir) {
  ASSERT_EQ(DeviceCount(), 1);
  const Workspace work;
  Result<Communicator> comm = Communicator::Create(RankOptions(spec, "workers", runtime_dir));
  ASSERT_THAT(comm.status(), Succeeds());
  ExpectSums(*comm, spec, work);
  ExpectSharedBuffers(*comm, spec, work);
  EXPECT_THAT(comm->Leave(), Succeeds());
}

// This thread never chooses a device: its current one is 0, and should get no context by it.
void CheckContexts(const RankSpec& spec, const std::string& runtime_dir) {
  const auto only_mine = ::testing::ElementsAre(spec.device);
  EXPECT_THAT(DevicesWithContext(), ::testing::IsEmpty());
  {
    Result<Communicator> comm = Communicator::Create(RankOptions(spec, "contexts", runtime_dir));
    ASSERT_THAT(comm.status(), Succeeds());
    EXPECT_THAT(DevicesWithContext(), only_mine);
    std::optional<Workspace> work;
    OnDevice(spec.device, [&] {
      work.emplace();
      CHECK_CUDA(cudaDeviceSynchronize());
    });
    for (void* stream : {static_cast<void*>(work->stream.get()), static_cast<void*>(nullptr)}) {
      void* data = work->memory.data();
      EXPECT_THAT(comm->AllReduce(data, data, 1000, DataType::kFloat32, ReduceOp::kSum, stream),
                  Succeeds());
      EXPECT_EQ(CurrentDevice(), 0);
      EXPECT_THAT(DevicesWithContext(), only_mine);
      OnDevice(spec.device, [] { CHECK_CUDA(cudaDeviceSynchronize()); });
    }
    EXPECT_THAT(comm->GetStatus(), Succeeds());
    OnDevice(spec.device, [&] { work.reset(); });
  }
  EXPECT_EQ(CurrentDevice(), 0);
  EXPECT_THAT(DevicesWithContext(), only_mine);
}

}  // namespace

pid_t StartWorker(WorkerCheck check, const RankSpec& spec, const std::string& runtime_dir,
                  const std::string& gpus) {
  std::vector<std::string> arguments = {"/proc/self/exe",
                                        kArgument,
                                        std::to_string(static_cast<int>(check)),
                                        std::to_string(spec.rank),
                                        std::to_string(spec.world_size),
                                        std::to_string(spec.device),
                                        runtime_dir};
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::string visible = std::string(kVisibleDevices) + gpus;
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const bool replaced = !gpus.empty() && std::string_view(*entry).rfind(kVisibleDevices, 0) == 0;
    if (!replaced) environment.push_back(*entry);
  }
  if (!gpus.empty()) environment.push_back(visible.data());
  environment.push_back(nullptr);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), environment.data());
  return error == 0 ? pid : -1;
}

bool WorkerSucceeded(pid_t pid) {
  int status = 0;
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool IsWorker(int argc, char** argv) {
  return argc == kArguments && argv[1] == std::string_view(kArgument);
}

int RunWorker(char** argv) {
  alarm(kSecondsMax);
  const auto check = static_cast<WorkerCheck>(std::atoi(argv[2]));
  const RankSpec spec = {
      .rank = std::atoi(argv[3]), .world_size = std::atoi(argv[4]), .device = std::atoi(argv[5])};
  const ::testing::ScopedTrace trace(__FILE__, __LINE__, "worker " + std::to_string(spec.rank));
  if (check == WorkerCheck::kSeesOneGpu) {
    CheckWithOneGpu(spec, argv[6]);
  } else {
    CheckContexts(spec, argv[6]);
  }
  return ::testing::Test::HasFailure() ? 1 : 0;
}

}  // namespace nodecomm
