#include "kernels/tuning.h"

#include <cstdint>

namespace nodecomm::kernels {
namespace {

// With two ranks both algorithms move the same bytes and one-shot has a hop less, so it serves
// every size.
//
// Hopper (sm_90). Two ranks: 1.5 MiB take 6.65 us with a packet a thread in blocks of 1024, 7.3
// with two in blocks of 512; 2 MiB 8.3 and 8.75 (2 x H100, driver 580, bf16, graph replay,
// 2026-11-26). 3 and 4 ranks: where the measured curves cross on 4 x H100 (driver 580, bf16, graph
// replay), 2026-11-26, before slots lay side by side. 5 to 8: derived, not measured. N ranks save S
// (N-1)(N-2)/N bytes each by two-shot, which must be worth its second hop: 287 KiB with 3, 360 with
// 4, and, it is taken, 73 more with every further one.
constexpr Tuning kHopper = {.one_shot_bytes_max = {0, 0, SIZE_MAX, 430 << 10, 240 << 10, 180 << 10,
                                                   152 << 10, 135 << 10, 124 << 10},
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

}  // namespace nodecomm::kernels
