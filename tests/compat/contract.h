// What this build promises to other versions of nodecomm, as facts in text, so that two releases
// can be compared though only one is built. Not which differences are allowed: contract_rules.h.
// Design note: tests/compat/README.md.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nodecomm::compat {

// Facts by name. A name's first word is the part that it belongs to; the fact "PART version" is the
// number that rises when that part breaks with what was.
using Contract = std::map<std::string, std::string, std::less<>>;

// Parts: wire (messages, frames, pages), library (the C ABI), plane (what ranks share), selection
// (what ranks choose alike). Reads the descriptors that protoc makes beside it, and the list of
// symbols in the source tree.
absl::StatusOr<Contract> ContractOfThisBuild();

// One fact a line, as "NAME: VALUE". Lines that begin with '#' are comments.
std::string ContractText(const Contract& contract);
absl::StatusOr<Contract> ParseContract(absl::string_view text);

}  // namespace nodecomm::compat
