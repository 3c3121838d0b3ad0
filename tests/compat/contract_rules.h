// Which differences between the last release's contract and today's break a promise of
// deploy/UPGRADE.md. Not what is in a contract: contract.h. Design note: tests/compat/README.md.
#pragma once

#include <string>
#include <vector>

#include "tests/compat/contract.h"

namespace nodecomm::compat {

// One entry a break: what it was, what it is, and what to do. A part whose version has risen may
// differ in everything.
std::vector<std::string> BrokenPromises(const Contract& last, const Contract& today);

}  // namespace nodecomm::compat
