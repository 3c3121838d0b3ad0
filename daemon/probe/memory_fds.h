// Where nodecomm-probe finds the memory of the pair's first and second GPU: what it and who starts
// it agree on.
#pragma once

namespace nodecomm {

inline constexpr int kProbeMemoryFdA = 3;
inline constexpr int kProbeMemoryFdB = 4;

}  // namespace nodecomm
