// A worker that never gives up: forms its group, reduces, checks every sum, and after any error
// forms the group anew, until it is told to end. Not a benchmark. Says on standard output what
// happens to it, a line each, with the time (CLOCK_MONOTONIC, ns); see README.md.

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "client/include/nodecomm/nodecomm.hpp"
#include "client/perf/device.h"

namespace nodecomm {
namespace {

// What exits mean to the scripts.
constexpr int kExitWrongSum = 3;
constexpr int kExitBadContract = 4;
constexpr int kExitUsage = 2;

struct Settings {
  std::string name;
  std::string runtime_dir;
  int rank = 0;
  int world_size = 2;
  int device = 0;
  bool simulated = false;
  bool graph = false;
  size_t host_mib = 0;    // touched, so that the process takes long to die
  size_t device_mib = 0;  // likewise
  int64_t call_timeout_ms = 30'000;
  int64_t rendezvous_timeout_ms = 20'000;
};

volatile sig_atomic_t stop = 0;

[[gnu::format(printf, 1, 2)]] void Say(const char* format, ...) {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  std::string line = std::to_string(now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec) + " ";
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  line += text;
  line += '\n';
  // One write, so that a kill leaves no half of a line.
  if (write(STDOUT_FILENO, line.data(), line.size()) < 0) _exit(kExitUsage);
}

// Memory and calls of one worker; outlives its communicators.
class Rank {
 public:
  static constexpr size_t kCountMax = size_t{1} << 18;
  static constexpr int kCallsPerGraph = 8;

  Rank(const Settings& settings, perf::Device& device) : settings_(settings), device_(device) {
    in_ = *device_.Allocate({kCountMax * sizeof(float)});
    out_ = *device_.Allocate({kCountMax * sizeof(float)});
    const std::vector<float> values(kCountMax, static_cast<float>(settings_.rank + 1));
    Check(device_.Upload(in_->data(), reinterpret_cast<const std::byte*>(values.data()),
                         {kCountMax * sizeof(float)}));
    sums_.resize(kCountMax);
  }

  // Returns when the group has failed or stop was asked for.
  void UseOneGroup() {
    Say("joining");
    Result<Communicator> comm = Form();
    if (!comm.ok()) {
      Say("not-formed %s", comm.status().ToString().c_str());
      Pause();
      return;
    }
    Say("ready %llu", static_cast<unsigned long long>(comm->GetInfo()->generation));
    if (!comm->Supports(sizeof(float), DataType::kFloat32)) return WaitWithoutFastPath(*comm);
    const Status ended = settings_.graph ? ReplayUntilError(*comm) : CallUntilError(*comm);
    if (ended.ok()) {
      Say("leaving");
      const Status left = comm->Leave();
      Say("left %s", left.ToString().c_str());
      return;
    }
    Say("error %s", ended.ToString().c_str());
    // What has failed stays failed, and says why.
    if (comm->GetStatus().ok()) {
      Say("contract: the status is OK after an error");
      _exit(kExitBadContract);
    }
  }

 private:
  // An engine would use NCCL meanwhile. What stands in the way may pass, so the group is formed
  // anew after a while.
  void WaitWithoutFastPath(Communicator& comm) {
    const char* reason = "";
    comm.Supports(sizeof(float), DataType::kFloat32, &reason);
    Say("not-supported %s", reason);
    for (int i = 0; i < 100 && stop == 0 && comm.GetStatus().ok(); ++i) Pause();
  }

  static void Pause() {
    timespec pause = {.tv_sec = 0, .tv_nsec = 5'000'000};
    nanosleep(&pause, nullptr);
  }

  Result<Communicator> Form() {
    Options options;
    options.name = settings_.name;
    options.runtime_dir = settings_.runtime_dir;
    options.rank = settings_.rank;
    options.world_size = settings_.world_size;
    options.device = settings_.device;
    options.call_timeout_ms = settings_.call_timeout_ms;
    options.rendezvous_timeout_ms = settings_.rendezvous_timeout_ms;
    return Communicator::Create(options);
  }

  Status Reduce(Communicator& comm, size_t count) {
    return comm.AllReduce(in_->data(), out_->data(), count, DataType::kFloat32, ReduceOp::kSum,
                          device_.stream());
  }

  // The same on all ranks, call by call.
  static size_t CountOfCall(uint64_t call) {
    uint64_t x = call * 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    return 1 + x % (call % 16 == 0 ? kCountMax : 4096);
  }

  Status CallUntilError(Communicator& comm) {
    uint64_t call = 0;
    while (stop == 0) {
      const size_t count = CountOfCall(++call);
      Status status = Reduce(comm, count);
      if (!status.ok()) return status;
      // Several in flight, mostly.
      if (call % 8 != 0) continue;
      Check(device_.Synchronize());
      status = comm.GetStatus();
      if (!status.ok()) return status;
      CheckSums(count);
      if (call % 256 == 0) Say("calls %llu", static_cast<unsigned long long>(call));
    }
    return Status();
  }

  Status ReplayUntilError(Communicator& comm) {
    Status captured;
    auto graph = device_.Capture([&]() -> absl::Status {
      for (int i = 0; i < kCallsPerGraph && captured.ok(); ++i) captured = Reduce(comm, 4096);
      return absl::OkStatus();
    });
    if (!captured.ok()) return captured;
    Check(graph.status());
    uint64_t replays = 0;
    while (stop == 0) {
      Check((*graph)->Launch());
      Check(device_.Synchronize());
      Status status = comm.GetStatus();
      if (!status.ok()) {
        // A replay after the end ends at once.
        Check((*graph)->Launch());
        Check(device_.Synchronize());
        return status;
      }
      CheckSums(4096);
      if (++replays % 256 == 0) Say("calls %llu", static_cast<unsigned long long>(replays));
    }
    return Status();
  }

  // A stop shows in the status of the call that it spoils: with an OK the sum must be right.
  void CheckSums(size_t count) {
    Check(device_.Download(reinterpret_cast<std::byte*>(sums_.data()), out_->data(),
                           {count * sizeof(float)}));
    const int ranks = settings_.world_size;
    const int sum = ranks * (ranks + 1) / 2;
    const auto expected = static_cast<float>(sum);
    for (size_t i = 0; i < count; ++i) {
      if (sums_[i] == expected) continue;
      Say("wrong element %zu of %zu: %g, not %g", i, count, sums_[i], expected);
      _exit(kExitWrongSum);
    }
  }

  static void Check(const absl::Status& status) {
    if (status.ok()) return;
    Say("contract: %s", std::string(status.message()).c_str());
    _exit(kExitBadContract);
  }

  const Settings settings_;
  perf::Device& device_;
  std::unique_ptr<perf::DeviceMemory> in_;
  std::unique_ptr<perf::DeviceMemory> out_;
  std::vector<float> sums_;
};

Settings Parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--simulated") {
      settings.simulated = true;
      continue;
    }
    if (option == "--graph") {
      settings.graph = true;
      continue;
    }
    if (++i == argc) std::exit(kExitUsage);
    const char* value = argv[i];
    if (option == "--name") {
      settings.name = value;
    } else if (option == "--runtime-dir") {
      settings.runtime_dir = value;
    } else if (option == "--rank") {
      settings.rank = std::atoi(value);
    } else if (option == "--world-size") {
      settings.world_size = std::atoi(value);
    } else if (option == "--device") {
      settings.device = std::atoi(value);
    } else if (option == "--host-mib") {
      settings.host_mib = std::strtoul(value, nullptr, 10);
    } else if (option == "--device-mib") {
      settings.device_mib = std::strtoul(value, nullptr, 10);
    } else if (option == "--call-timeout-ms") {
      settings.call_timeout_ms = std::atoll(value);
    } else {
      std::exit(kExitUsage);
    }
  }
  return settings;
}

int Main(int argc, char** argv) {
  const Settings settings = Parse(argc, argv);
  // A test that dies must not leave workers behind, nor their kernels.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct sigaction ask_to_stop = {};
  ask_to_stop.sa_handler = [](int) { stop = 1; };
  sigaction(SIGTERM, &ask_to_stop, nullptr);
  if (settings.host_mib > 0) {
    void* const held = mmap(nullptr, settings.host_mib << 20, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (held == MAP_FAILED) return kExitUsage;
  }
  std::unique_ptr<perf::Device> device;
  if (settings.simulated) {
    device = perf::CreateHostDevice();
  } else {
    auto cuda = perf::CreateCudaDevice({settings.device});
    if (!cuda.ok()) {
      Say("no device: %s", std::string(cuda.status().message()).c_str());
      return kExitUsage;
    }
    device = *std::move(cuda);
  }
  std::unique_ptr<perf::DeviceMemory> ballast;
  if (settings.device_mib > 0) ballast = *device->Allocate({settings.device_mib << 20});
  Rank rank(settings, *device);
  while (stop == 0) rank.UseOneGroup();
  Say("end");
  return 0;
}

}  // namespace
}  // namespace nodecomm

int main(int argc, char** argv) { return nodecomm::Main(argc, argv); }
