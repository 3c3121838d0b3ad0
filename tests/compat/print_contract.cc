// Prints the contract of this build: what `tests/run.sh record` keeps of a release. Not a test.
// Design note: tests/compat/README.md.
#include <iostream>

#include "tests/compat/contract.h"

int main() {
  const auto contract = nodecomm::compat::ContractOfThisBuild();
  if (!contract.ok()) {
    std::cerr << contract.status() << "\n";
    return 1;
  }
  std::cout << nodecomm::compat::ContractText(*contract);
  return std::cout.flush() ? 0 : 1;
}
