// The daemon's answers as JSON, for programs: the messages of nodecomm/v1/admin.proto by protobuf's
// JSON mapping, with the fields' own names and with fields that are 0 or empty. 64-bit numbers are
// strings there. Not a format of its own: what the messages gain, this gains. Design note:
// client/cli/README.md.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/statusor.h"
#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

absl::StatusOr<std::string> MessageToJson(const google::protobuf::Message& message);

// On one line, for answers that follow each other: JSON Lines.
absl::StatusOr<std::string> MessageToJsonLine(const google::protobuf::Message& message);

// The host's own fields (hostname, gpus, links, ...) at the top, and the answer's others beside
// them; schema_version first. Documented in client/cli/topology-json.md.
absl::StatusOr<std::string> TopologyToJson(const v1::GetTopologyResponse& topology);

}  // namespace nodecomm
