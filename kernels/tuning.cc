#include "kernels/tuning.h"

#include <algorithm>
#include <cstdint>

namespace nodecomm::kernels {
namespace {

// With two ranks both algorithms move the same bytes and one-shot has a hop less, so it serves
// every size.
//
// Hopper (sm_90). Two ranks: 1.5 MiB take 6.65 us with a packet a thread in blocks of 1024, 7.3
// with two in blocks of 512; 2 MiB 8.3 and 8.75 (2 x H100, driver 580, bf16, graph replay,
// 2026-11-26). 3 and 4 ranks: where the measured curves cross on 4 x H100 (driver 580, bf16, graph
// replay, 2026-11-27): with 3 one-shot is 0.04 us ahead at 256 KiB and 0.19 behind at 384, with 4
// 0.17 ahead at 128 and 0.12 behind at 192. 5 to 8: derived, not measured. N ranks save S
// (N-1)(N-2)/N bytes each by two-shot, which must be worth its second hop: 187 KiB with 3, 248 with
// 4, and, it is taken, 61 more with every further one.
constexpr Tuning kHopper = {.one_shot_bytes_max = {0, 0, SIZE_MAX, 280 << 10, 165 << 10, 128 << 10,
                                                   111 << 10, 100 << 10, 93 << 10},
                            .two_rank_threads_max = 1024};

// Ampere and Ada (sm_80, sm_86, sm_89): Hopper's, not measured. Launches do not overlap there, so a
// trip costs more beside the bytes and one-shot should pay for longer; NVLink has two thirds of the
// bandwidth, which should take about as much away. The multiprocessors of sm_86 and sm_89 hold 1536
// threads: no two blocks of 1024.
constexpr Tuning kAmpere = {.one_shot_bytes_max = kHopper.one_shot_bytes_max,
                            .two_rank_threads_max = 512};

// Blackwell (sm_100, sm_103, sm_120): Hopper's, not measured. Twice the bandwidth should move all
// crossings up. Those of sm_120 hold 1536 threads, too.
constexpr Tuning kBlackwell = {.one_shot_bytes_max = kHopper.one_shot_bytes_max,
                               .two_rank_threads_max = 512};

}  // namespace

const Tuning& TuningFor(int architecture) {
  if (architecture >= 100) return kBlackwell;
  if (architecture >= 90 || architecture == 0) return kHopper;
  return kAmpere;
}

int CommonArchitecture(int a, int b) {
  // The last whose table asks for nothing that other architectures lack: blocks of 1024 threads are
  // compiled for sm_90 alone.
  constexpr int kAda = 89;
  return a == b ? a : std::min({a, b, kAda});
}

}  // namespace nodecomm::kernels
