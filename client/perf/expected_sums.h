// The reference of a whole run: computed once, by all ranks together, into memory that they share.
// Not how an element is computed: that is reference.h.
// Design note: client/perf/README.md, "what is checked".
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "client/perf/arena.h"
#include "client/perf/board.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

class SumsMemory {
 public:
  // To be called before the workers are forked. Serves messages of up to `message_max` bytes of
  // each of `types`.
  static absl::StatusOr<SumsMemory> Create(const std::vector<nodecomm_type>& types,
                                           ByteCount message_max);

  // Computes this rank's part; what is shared is complete after the next barrier.
  void FillPart(Rank rank, WorldSize ranks) const;

  const ExpectedSums& sums() const { return sums_; }

 private:
  struct Part {
    nodecomm_type type;
    size_t elements;
    SharedMapping memory;
  };
  explicit SumsMemory(std::vector<Part> parts);

  std::vector<Part> parts_;
  ExpectedSums sums_;  // into parts_
};

}  // namespace nodecomm::perf
