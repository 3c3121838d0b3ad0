// Protobuf's JSON printer with our options; see json.h.
// Not for reading JSON.
// Design note: client/cli/README.md.
#include "client/cli/json.h"

#include <google/protobuf/util/json_util.h>

#include <string_view>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

// Grows when a field changes its meaning or goes; not when one comes.
constexpr int kTopologySchemaVersion = 1;

// The members of a printed object.
std::string_view Inside(std::string_view object) {
  const size_t begin = object.find('{') + 1;
  const std::string_view members = object.substr(begin, object.rfind('}') - begin);
  return members.substr(0, members.find_last_not_of('\n') + 1);
}

absl::StatusOr<std::string> Print(const google::protobuf::Message& message,
                                  google::protobuf::util::JsonPrintOptions options) {
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

}  // namespace

absl::StatusOr<std::string> MessageToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  return Print(message, options);
}

absl::StatusOr<std::string> MessageToJsonLine(const google::protobuf::Message& message) {
  ABSL_ASSIGN_OR_RETURN(const std::string json, Print(message, {}));
  return json + "\n";
}

absl::StatusOr<std::string> TopologyToJson(const v1::GetTopologyResponse& topology) {
  ABSL_ASSIGN_OR_RETURN(const std::string host, MessageToJson(topology.host()));
  v1::GetTopologyResponse rest = topology;
  rest.clear_host();
  ABSL_ASSIGN_OR_RETURN(const std::string others, MessageToJson(rest));
  // Spliced in as text: a message of its own only to flatten another would have to follow its every
  // change. The printed objects are never empty, since empty fields are printed.
  return absl::StrFormat("{\n \"schema_version\": %d,%s,%s\n}\n", kTopologySchemaVersion,
                         Inside(others), Inside(host));
}

}  // namespace nodecomm
