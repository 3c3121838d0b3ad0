// Chooses algorithm, launches and chunks for a message: one pure function.
// Its inputs are the same on every rank, and so is its result; pointers and alignment are no
// inputs, on purpose. Design note: kernels/README.md, "selection".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "client/base/quantities.h"
#include "kernels/element.h"
#include "kernels/plane_layout.h"

namespace nodecomm::kernels {

// Version of the tables in tuning.cc and of what is made of them: ranks that differ in it must not
// form a group.
inline constexpr uint32_t kAlgorithmTableVersion = 8;

enum class Algorithm { kCopy, kOneShot, kTwoShot };

// "copy", "one_shot", "two_shot".
std::string_view AlgorithmName(Algorithm algorithm);

// What is fixed when a group forms. The layout is worked out then too: in every call it was 60 of
// the 140 ns that planning took (one core of an EPYC).
struct GroupShape {
  WorldSize world_size;
  // LayOutPlane's, for the group's planes.
  PlaneLayout layout;
  // The least of all members.
  int multiprocessors = 1;
  // CommonArchitecture of all members; 0: not known, taken for Hopper.
  int architecture = 0;
  // One algorithm for every size, if set.
  std::optional<Algorithm> algorithm_override;
};

struct Plan {
  Algorithm algorithm = Algorithm::kCopy;
  // Bytes of one launch; a message takes ceil(bytes / launch_bytes) launches. A multiple of a
  // packet, so that every launch starts as aligned as the message.
  size_t launch_bytes = 0;
};

struct Grid {
  int blocks = 1;
  int threads = 32;  // of a block

  size_t ThreadsInAll() const { return static_cast<size_t>(blocks) * static_cast<size_t>(threads); }
};

// No grid has fewer threads.
inline constexpr int kGridThreadsMin = 32;

// One launch: its grid, and how its packets are cut into chunks. One-shot: packets of the launch;
// two-shot: of a shard of it. Shards at the end may lie partly or wholly beyond the message, and
// are sent all the same, so that every rank hears from every other in every call.
struct LaunchPlan {
  Grid grid;
  size_t packets = 0;
  size_t chunk_packets = 0;
  size_t chunks = 1;

  // Whether no thread has more than one packet (two-shot: of each shard).
  bool HasPacketAThread() const { return packets <= grid.ThreadsInAll(); }
};

Plan SelectPlan(ByteCount message, ElementType type, const GroupShape& shape);

// `launch`: at most plan.launch_bytes. Every block has a packet.
LaunchPlan PlanLaunch(const Plan& plan, ByteCount launch, const GroupShape& shape);

}  // namespace nodecomm::kernels
