#include "daemon/main/log_line.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <string>

#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

LogLine Line(std::string_view message, const LogFields& fields = {}) {
  return {.time = absl::FromUnixMillis(1'700'000'000'123),
          .level = LogLevel::kInfo,
          .message = message,
          .fields = fields};
}

LogFields AllFields() {
  return {.session = SessionId{0xab},
          .group = 18446744073709551615u,
          .group_name = "tp",
          .rank = 3,
          .uid = 1000,
          .pid = 4001,
          .gpu = "GPU-a"};
}

// The line read back by another reader of JSON.
google::protobuf::Struct Parse(const std::string& line) {
  google::protobuf::Struct parsed;
  const auto status = google::protobuf::util::JsonStringToMessage(line, &parsed);
  EXPECT_TRUE(status.ok()) << status.ToString() << "\n" << line;
  return parsed;
}

TEST(LogLine, TextHasTimeLevelMessageAndFields) {
  const std::string text =
      RenderLogLine(Line("session opened", AllFields()), LogFormat::kText, LogTarget::kStream);
  EXPECT_THAT(text, StartsWith("2023-11-1"));
  EXPECT_THAT(text, HasSubstr(":20.123"));
  EXPECT_THAT(text, EndsWith(" info session opened session=00000000000000ab "
                             "group=18446744073709551615 group_name=\"tp\" rank=3 uid=1000 "
                             "pid=4001 gpu=GPU-a"));
}

TEST(LogLine, JsonHasEveryFieldByName) {
  const auto json =
      Parse(RenderLogLine(Line("m", AllFields()), LogFormat::kJson, LogTarget::kStream));
  const auto& fields = json.fields();
  EXPECT_EQ(fields.size(), 10u);
  EXPECT_THAT(fields.at("time").string_value(), StartsWith("2023-11-1"));
  EXPECT_EQ(fields.at("level").string_value(), "info");
  EXPECT_EQ(fields.at("message").string_value(), "m");
  EXPECT_EQ(fields.at("session").string_value(), "00000000000000ab");
  EXPECT_EQ(fields.at("group").string_value(), "18446744073709551615");
  EXPECT_EQ(fields.at("group_name").string_value(), "tp");
  EXPECT_EQ(fields.at("rank").number_value(), 3);
  EXPECT_EQ(fields.at("uid").number_value(), 1000);
  EXPECT_EQ(fields.at("pid").number_value(), 4001);
  EXPECT_EQ(fields.at("gpu").string_value(), "GPU-a");
}

TEST(LogLine, FieldsThatAreNotSetAreNotThereAndZeroIs) {
  const auto json =
      Parse(RenderLogLine(Line("m", {.rank = 0, .uid = 0}), LogFormat::kJson, LogTarget::kStream));
  EXPECT_EQ(json.fields().size(), 5u);
  EXPECT_EQ(json.fields().at("uid").number_value(), 0);
}

TEST(LogLine, NobodyWritesASecondLineOrLeavesAString) {
  // All bytes there are, and sequences that look like UTF-8.
  std::string foreign;
  for (int byte = 0; byte < 256; ++byte) foreign += static_cast<char>(byte);
  foreign += "\xc3\xa9 \xe2\x82 \xf0\x9f\x92\xa9 \xc0\xaf \",\"level\":\"error";
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    const std::string line = RenderLogLine(Line(foreign, {.group_name = foreign, .gpu = foreign}),
                                           format, LogTarget::kStream);
    EXPECT_EQ(line.find_first_of(std::string_view("\n\r\0\033", 4)), std::string::npos);
  }
  const auto json =
      Parse(RenderLogLine(Line(foreign), LogFormat::kJson, LogTarget::kStream)).fields();
  EXPECT_EQ(json.size(), 3u);
  EXPECT_EQ(json.at("level").string_value(), "info");
  EXPECT_THAT(json.at("message").string_value(), HasSubstr("\xc3\xa9"));
  EXPECT_THAT(json.at("message").string_value(), EndsWith("\",\"level\":\"error"));
}

TEST(LogLine, QuotesOfAMessageAreEscapedOnceAndInJsonOnly) {
  const std::string message = Escaped("d.conf:1:1: \"x\" isn't known\n");
  EXPECT_EQ(message, "d.conf:1:1: \"x\" isn't known\\n");
  EXPECT_EQ(Escaped(""), "");
  EXPECT_EQ(Escaped("'\""), "'\"");
  EXPECT_EQ(Escaped("\xc3\xa9\"\x01\\"), "\xc3\xa9\"\\001\\\\");
  EXPECT_THAT(RenderLogLine(Line(message), LogFormat::kJson, LogTarget::kStream),
              HasSubstr("1:1: \\\"x\\\" isn't"));
  EXPECT_THAT(
      RenderLogLine(Line("m", {.group_name = "a\" uid=0"}), LogFormat::kText, LogTarget::kStream),
      EndsWith(" group_name=\"a\\\" uid=0\""))
      << "nobody leaves the quotes of a field";
}

TEST(LogLine, JournalGetsItsPrioritiesAndNoSecondTime) {
  const struct {
    LogLevel level;
    const char* prefix;
  } cases[] = {{LogLevel::kError, "<3>"},
               {LogLevel::kWarning, "<4>"},
               {LogLevel::kInfo, "<6>"},
               {LogLevel::kDebug, "<7>"},
               {LogLevel::kTrace, "<7>"}};
  for (const auto& test : cases) {
    LogLine line = Line("stopped", {.uid = 7});
    line.level = test.level;
    EXPECT_EQ(RenderLogLine(line, LogFormat::kText, LogTarget::kJournal),
              std::string(test.prefix) + "stopped uid=7");
    const std::string json = RenderLogLine(line, LogFormat::kJson, LogTarget::kJournal);
    EXPECT_THAT(json, StartsWith(std::string(test.prefix) + "{"));
    EXPECT_THAT(RenderLogLine(line, LogFormat::kText, LogTarget::kStream), Not(HasSubstr("<")));
    Parse(json.substr(3));
  }
}

}  // namespace
}  // namespace nodecomm
