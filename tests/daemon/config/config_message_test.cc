#include "daemon/config/config_message.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include <string>

#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Every field that is not repeated must be set, at every depth: a field that is new in the schema
// and forgotten here fails.
void ExpectComplete(const Message& message) {
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (field->is_repeated()) continue;
    EXPECT_TRUE(message.GetReflection()->HasField(message, field)) << field->full_name();
    if (field->type() == FieldDescriptor::TYPE_MESSAGE) {
      ExpectComplete(message.GetReflection()->GetMessage(message, field));
    }
  }
}

std::string TextOf(const Message& message) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(message, &text);
  return text;
}

TEST(ConfigMessage, HasEveryFieldOfTheSchema) {
  Config config;
  config.peer_access.proof_bytes = 64_MiB;
  ExpectComplete(ToMessage(config));
}

TEST(ConfigMessage, ReadBackIsTheSameConfiguration) {
  // No value is the default.
  const auto config = ParseConfig("d.conf", R"(
    runtime_dir: "/tmp/n"
    runtime_dir_mode: "0750"
    admin_dir_mode: "0711"
    log_level: "warning"
    log_format: "json"
    pool {
      plane_bytes: 4194304 planes_ready: 1 bytes_per_gpu_max: 8388608
      bytes_per_gpu_per_uid_max: 6291456
    }
    group {
      rendezvous_timeout_ms: 1500 allow_gpu_sharing: true allow_pci: true disable_fast_path: true
      drain_timeout_ms: 77
    }
    limits {
      sessions_max: 5 sessions_per_uid_max: 4 control_connections_per_uid_max: 3 groups_max: 2
      groups_per_uid_max: 1 connections_per_uid_per_second: 6 calls_per_uid_per_second: 7
    }
    peer_access {
      trust_driver: true allow_unproven: true proof_bytes: 134217728 proof_timeout_ms: 2500
    }
    metrics { port: 9464 textfile: "/x/n.prom" textfile_interval_ms: 2000 }
    gpu_access { gpu_uuid: "GPU-51000000-0000-4000-8000-00000000000a" uid: [ 1000, 1001 ] }
    gpu_access { gpu_uuid: "GPU-51000000-0000-4000-8000-00000000000b" })");
  ASSERT_OK(config);
  const std::string text = TextOf(ToMessage(*config));
  const auto again = ParseConfig("again", text);
  ASSERT_OK(again);
  EXPECT_EQ(TextOf(ToMessage(*again)), text);
  // And it is not the defaults' text in any line.
  const std::string defaults = TextOf(ToMessage(Config()));
  for (const char* value :
       {"/tmp/n", "0750", "0711", "warning", "json", "plane_bytes: 4194304", "drain_timeout_ms: 77",
        "calls_per_uid_per_second: 7", "GPU-51000000-0000-4000-8000-00000000000b"}) {
    EXPECT_NE(text.find(value), std::string::npos) << value;
    EXPECT_EQ(defaults.find(value), std::string::npos) << value;
  }
}

}  // namespace
}  // namespace nodecomm
