// How many file descriptors this process has open, and may have.
#pragma once

#include "absl/status/status.h"

namespace nodecomm {

int CountOpenFds();

// The soft limit, as it is now.
int OpenFdsMax();

// Whether `status` says that this process had no descriptor left (EMFILE).
bool SaysNoFdIsLeft(const absl::Status& status);
// One that does, with what to raise; any other as it is.
absl::Status WithFdAdvice(const absl::Status& status);

}  // namespace nodecomm
