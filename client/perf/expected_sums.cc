// See expected_sums.h.
#include "client/perf/expected_sums.h"

#include <algorithm>
#include <utility>

#include "client/base/status_macros.h"
#include "client/perf/reference.h"

namespace nodecomm::perf {

absl::StatusOr<SumsMemory> SumsMemory::Create(const std::vector<nodecomm_type>& types,
                                              ByteCount message_max) {
  std::vector<Part> parts;
  for (nodecomm_type type : types) {
    const size_t elements = message_max.value / TypeBytes(type) + kFirstElementMax;
    ABSL_ASSIGN_OR_RETURN(SharedMapping memory,
                          SharedMapping::Create({elements * TypeBytes(type)}));
    parts.push_back({type, elements, std::move(memory)});
  }
  return SumsMemory(std::move(parts));
}

SumsMemory::SumsMemory(std::vector<Part> parts) : parts_(std::move(parts)) {
  for (const Part& part : parts_) sums_.of_type[part.type] = part.memory.data();
}

void SumsMemory::FillPart(Rank rank, WorldSize ranks) const {
  for (const Part& part : parts_) {
    const size_t share = (part.elements + ranks.value - 1) / ranks.value;
    const size_t begin = std::min(share * rank.value, part.elements);
    const size_t end = std::min(begin + share, part.elements);
    FillExpected(part.type, ranks, static_cast<uint32_t>(begin), end - begin,
                 part.memory.data() + begin * TypeBytes(part.type));
  }
}

}  // namespace nodecomm::perf
