// What the kernel says of another process (proc(5): /proc/pid/status, limits and fd).
// Facts only; what they mean is doctor.h's. Design note: client/cli/README.md.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace nodecomm {

struct ProcessFacts {
  char state = 0;  // of its main thread: the letter of proc(5); 0: not known
  std::optional<uid_t> effective_uid = {};
  // Of a PID namespace below this process's: it does not see what runs outside of that.
  bool in_inner_pid_namespace = false;
  std::optional<int64_t> open_files = {};  // told to root and to the process's own user only
  std::optional<int64_t> open_files_max = {};
};

// Empty where the process has ended, or is hidden from this one.
ProcessFacts ReadProcess(pid_t pid);

}  // namespace nodecomm
