// What the kernel says of another process (proc(5), /proc/pid/status).
// Facts only; what they mean is doctor.h's. Design note: client/cli/README.md.
#pragma once

#include <sys/types.h>

#include <optional>

namespace nodecomm {

struct ProcessFacts {
  char state = 0;  // of its main thread: the letter of proc(5); 0: not known
  std::optional<uid_t> effective_uid = {};
};

// Empty where the process has ended, or is hidden from this one.
ProcessFacts ReadProcess(pid_t pid);

}  // namespace nodecomm
