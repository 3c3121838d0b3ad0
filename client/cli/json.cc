// Protobuf's JSON printer with our options; see json.h.
// Not for reading JSON.
// Design note: client/cli/README.md.
#include "client/cli/json.h"

#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"

namespace nodecomm {

absl::StatusOr<std::string> MessageToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) {
    return absl::InternalError(
        absl::StrFormat("printing %s as JSON: %s", message.GetTypeName(), status.ToString()));
  }
  return json;
}

absl::StatusOr<std::string> TopologyToJson(const v1::GetTopologyResponse& topology) {
  ABSL_ASSIGN_OR_RETURN(const std::string host, MessageToJson(topology.host()));
  // Spliced in as text: a message of its own only to flatten another would have to follow its every
  // change. The printed object is never empty, since empty fields are printed.
  return absl::StrCat("{\n \"simulated\": ", topology.simulated() ? "true" : "false", ",",
                      host.substr(1));
}

}  // namespace nodecomm
