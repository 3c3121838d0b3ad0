// Proofs as text, as the probe says them and the cache keeps them: protobuf's text format.
// Not believed yet: who reads them checks what they say.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// InvalidArgument: no such text, with line, column and what is wrong at its first error.
absl::StatusOr<v1::PeerProofs> ParseProofs(const std::string& text);

std::string PrintProofs(const v1::PeerProofs& proofs);

}  // namespace nodecomm
