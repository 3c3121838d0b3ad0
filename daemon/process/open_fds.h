// How many file descriptors this process has open, and may have.
#pragma once

namespace nodecomm {

int CountOpenFds();

// The soft limit, as it is now.
int OpenFdsMax();

}  // namespace nodecomm
