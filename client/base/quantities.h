// The numbers that cross headers, one type per meaning.
// Not a unit library: no arithmetic beyond what callers need.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace nodecomm {

// Position of a member in its group, 0 to world size - 1.
struct Rank {
  int value = 0;
  auto operator<=>(const Rank&) const = default;
};

// Number of ranks in a group.
struct WorldSize {
  int value = 0;
  auto operator<=>(const WorldSize&) const = default;
};

// A GPU's index as CUDA counts in this process (CUDA_VISIBLE_DEVICES applied). Never crosses a
// socket: UUIDs do.
struct DeviceIndex {
  int value = 0;
  auto operator<=>(const DeviceIndex&) const = default;
};

struct ByteCount {
  size_t value = 0;
  auto operator<=>(const ByteCount&) const = default;
};

inline constexpr ByteCount operator""_KiB(unsigned long long n) { return {n << 10}; }
inline constexpr ByteCount operator""_MiB(unsigned long long n) { return {n << 20}; }

// The fast path serves groups of at most this many ranks; arrays of ranks have this length.
inline constexpr int kWorldSizeMax = 8;

}  // namespace nodecomm
