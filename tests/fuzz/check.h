// What a fuzz target found to be untrue ends the process, as a crash would.
// Not for errors of the input: those are what targets feed on.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace nodecomm {

inline void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "NOT SO: %s\n", what);
  std::abort();
}

inline int OpenFds() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

}  // namespace nodecomm
