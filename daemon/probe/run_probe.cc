#include "daemon/probe/run_probe.h"

#include <fcntl.h>
#include <google/protobuf/text_format.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <map>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/base/steady_clock.h"
#include "daemon/probe/check.h"
#include "daemon/probe/memory_fds.h"

namespace nodecomm::probe {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitUsage = 2;
constexpr int64_t kTimeoutMsMax = 600 * 1000;
// A hang that no step's own bound ends: the process must not outlive whoever started it.
constexpr unsigned kAlarmGraceS = 5;

constexpr char kUsage[] =
    "usage: nodecomm-probe --platform cuda|simulated --a UUID --b UUID --bytes N --timeout-ms N\n"
    "Proves peer access between two GPUs. Started by nodecommd, with N bytes of memory of each "
    "GPU\n"
    "as descriptors 3 and 4.\n";

struct Arguments {
  std::string platform;
  std::array<std::string, 2> gpu_uuids;
  uint64_t bytes = 0;
  int64_t timeout_ms = 0;
};

std::optional<Arguments> Parse(int argc, char** argv) {
  std::map<std::string, std::string> values;
  for (int i = 1; i + 1 < argc; i += 2) values[argv[i]] = argv[i + 1];
  if (argc != 11 || values.size() != 5) return std::nullopt;
  Arguments arguments;
  arguments.platform = values["--platform"];
  arguments.gpu_uuids = {values["--a"], values["--b"]};
  const bool parsed = absl::SimpleAtoi(values["--bytes"], &arguments.bytes) &&
                      absl::SimpleAtoi(values["--timeout-ms"], &arguments.timeout_ms);
  const bool known = arguments.platform == "cuda" || arguments.platform == "simulated";
  if (!parsed || !known || arguments.gpu_uuids[0].empty() || arguments.gpu_uuids[1].empty() ||
      arguments.bytes % sizeof(Packet) != 0 || arguments.timeout_ms < 1 ||
      arguments.timeout_ms > kTimeoutMsMax) {
    return std::nullopt;
  }
  return arguments;
}

// Only the two GPUs are opened, as CUDA's devices 0 and 1, whatever the daemon was started with.
void ShowCudaThePairOnly(const std::array<std::string, 2>& gpu_uuids) {
  const std::string visible =
      gpu_uuids[0] == gpu_uuids[1] ? gpu_uuids[0] : absl::StrCat(gpu_uuids[0], ",", gpu_uuids[1]);
  setenv("CUDA_VISIBLE_DEVICES", visible.c_str(), 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GpuPair>> MakeRealPair(const std::string& platform,
                                                      PairOptions options) {
  if (platform == "simulated") return CreateHostPair(std::move(options));
  return CreateCudaPair(std::move(options));
}

int RunProbe(int argc, char** argv, const MakePair& make_pair) {
  const std::optional<Arguments> arguments = Parse(argc, argv);
  if (!arguments.has_value() || fcntl(kProbeMemoryFdA, F_GETFD) < 0 ||
      fcntl(kProbeMemoryFdB, F_GETFD) < 0) {
    fputs(kUsage, stderr);
    return kExitUsage;
  }
  const SteadyTime deadline = SteadyNow() + absl::Milliseconds(arguments->timeout_ms);
  alarm(static_cast<unsigned>(arguments->timeout_ms / 1000) + kAlarmGraceS);
  ShowCudaThePairOnly(arguments->gpu_uuids);
  PairOptions options;
  options.gpu_uuids = arguments->gpu_uuids;
  options.memory = {UniqueFd(kProbeMemoryFdA), UniqueFd(kProbeMemoryFdB)};
  options.bytes = ByteCount{arguments->bytes};
  const auto pair = make_pair(arguments->platform, std::move(options));
  const v1::PeerProofs proofs = pair.ok() ? ProvePair(**pair, arguments->gpu_uuids, deadline)
                                          : CouldNotProve(arguments->gpu_uuids, pair.status());
  std::string text;
  google::protobuf::TextFormat::PrintToString(proofs, &text);
  fputs(text.c_str(), stdout);
  return kExitOk;
}

}  // namespace nodecomm::probe
