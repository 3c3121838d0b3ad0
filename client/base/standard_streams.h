// Standard input, output and error of a program: that nothing else takes their places, and that
// what was printed has arrived. Not what is printed. Design note: client/base/README.md.
#pragma once

#include "absl/status/status.h"

namespace nodecomm {

enum class Missing {
  kIgnoresWrites,  // for a daemon, whose standard error may well be nobody's
  kFailsWrites,    // for a program whose output is what it is run for
};

// Opens /dev/null for standard streams that are closed, so that no socket and no file becomes one
// and takes what is printed. For the start of a program.
void OpenMissingStandardStreams(Missing missing);

// Whether all that was printed to stdout so far has been written; if not, why. For one thread.
absl::Status FlushStandardOutput();

}  // namespace nodecomm
