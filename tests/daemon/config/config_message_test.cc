#include "daemon/config/config_message.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include <string>

#include "tests/daemon/config/every_value.h"
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
  const auto config = ParseConfig("all", kEveryValueChanged);
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
