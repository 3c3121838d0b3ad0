// Whether a host that somebody wrote down can exist.
// Not for what NVML reports: a real host is what it is, however odd.
// Design note: daemon/topology/README.md, "files".
#pragma once

#include <google/protobuf/text_format.h>

#include <string>

#include "absl/status/status.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// InvalidArgument for the first fact that is missing, malformed or contradicts another one; the
// message starts with "path:line:column: field", from `locations`, which the parser filled while it
// read `host`.
absl::Status ValidateHost(const v1::Host& host, const std::string& path,
                          const google::protobuf::TextFormat::ParseInfoTree& locations);

}  // namespace nodecomm
