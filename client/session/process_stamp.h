// Tells the process that made an object from a fork of it.
// Not getpid(): this is asked on every all-reduce, and costs one load instead of a system call.
// Design note: client/README.md, "fork".
#pragma once

#include <cstdint>

namespace nodecomm {

class ProcessStamp {
 public:
  // Stamps with the running process.
  ProcessStamp();

  bool InSameProcess() const { return forks_ == ForkCount(); }

 private:
  static uint64_t ForkCount();

  uint64_t forks_;
};

}  // namespace nodecomm
