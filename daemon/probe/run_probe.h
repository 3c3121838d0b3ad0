// The probe as a program: its command line, its memory, what it prints.
// Not the check (check.h). Apart from main.cc so that tests can run it on faulty hardware.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/probe/gpu_pair.h"

namespace nodecomm::probe {

// `platform` is "cuda" or "simulated".
using MakePair = std::function<absl::StatusOr<std::unique_ptr<GpuPair>>(const std::string& platform,
                                                                        PairOptions options)>;

// Prints a v1.PeerProofs in protobuf's text format on standard output. Returns the exit code: 0
// whatever the verdict, 2 for wrong usage. The process ends by SIGALRM if it hangs beyond its
// timeout.
int RunProbe(int argc, char** argv, const MakePair& make_pair);

// Those that there are.
absl::StatusOr<std::unique_ptr<GpuPair>> MakeRealPair(const std::string& platform,
                                                      PairOptions options);

}  // namespace nodecomm::probe
