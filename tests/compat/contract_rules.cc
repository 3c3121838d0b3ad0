#include "tests/compat/contract_rules.h"

#include <array>
#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace nodecomm::compat {
namespace {

enum class Additions { kAllowed, kBreak };

struct Part {
  absl::string_view name;
  Additions additions;
  absl::string_view advice;
};

constexpr std::array<Part, 4> kParts = {{
    {"wire", Additions::kAllowed,
     "The last release may be the other end: put it back as it was and add what is new beside it. "
     "Only another major version may change it."},
    {"library", Additions::kAllowed,
     "Programs that were linked with the last release count on it: put it back, or raise "
     "NODECOMM_ABI (deploy/debian/README.md)."},
    {"plane", Additions::kBreak,
     "Ranks of both releases would misread each other's planes: raise kPlaneAbi "
     "(kernels/plane_layout.h), so that such groups are refused."},
    {"selection", Additions::kBreak,
     "Ranks of both releases would choose differently: raise kAlgorithmTableVersion "
     "(kernels/selection.h), so that such groups are refused."},
}};

const std::string* Find(const Contract& contract, absl::string_view name) {
  const auto found = contract.find(name);
  return found == contract.end() ? nullptr : &found->second;
}

int64_t VersionOf(const Contract& contract, const Part& part) {
  const std::string* text = Find(contract, absl::StrCat(part.name, " version"));
  int64_t version = -1;
  if (text == nullptr || !absl::SimpleAtoi(*text, &version)) return -1;
  return version;
}

void ComparePart(const Part& part, const Contract& last, const Contract& today,
                 std::vector<std::string>& broken) {
  const std::string prefix = absl::StrCat(part.name, " ");
  for (const auto& [name, was] : last) {
    if (!absl::StartsWith(name, prefix)) continue;
    const std::string* is = Find(today, name);
    if (is == nullptr) {
      broken.push_back(absl::StrFormat("%s was '%s' and is gone. %s", name, was, part.advice));
    } else if (*is != was) {
      broken.push_back(absl::StrFormat("%s was '%s' and is '%s'. %s", name, was, *is, part.advice));
    }
  }
  if (part.additions == Additions::kAllowed) return;
  for (const auto& [name, is] : today) {
    if (!absl::StartsWith(name, prefix) || Find(last, name) != nullptr) continue;
    broken.push_back(absl::StrFormat("%s is new, '%s'. %s", name, is, part.advice));
  }
}

}  // namespace

std::vector<std::string> BrokenPromises(const Contract& last, const Contract& today) {
  std::vector<std::string> broken;
  for (const Part& part : kParts) {
    const int64_t was = VersionOf(last, part);
    const int64_t is = VersionOf(today, part);
    if (was < 0 || is < was) {
      broken.push_back(
          absl::StrFormat("the version of part '%s' was %d and is %d: it never falls, and both "
                          "contracts must have it",
                          part.name, was, is));
    } else if (is == was) {
      ComparePart(part, last, today, broken);
    }
  }
  return broken;
}

}  // namespace nodecomm::compat
