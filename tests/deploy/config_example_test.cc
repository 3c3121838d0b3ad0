// The example configuration: that it shows every setting of the schema, with its default, its unit
// and whether a reload takes it, and that the daemon reads it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "daemon/config/config.h"
#include "daemon/config/reload.h"
#include "google/protobuf/descriptor.h"
#include "nodecomm/v1/config.pb.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using ::testing::HasSubstr;

std::string Example() {
  std::ifstream file(CONFIG_EXAMPLE);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// "#name: value", "#section {" and "#}", as opposed to prose after "# ".
const std::regex kCommentedOut(R"(^( *)#([a-z_]+ ?[:{].*|\})$)");

// With everything that is commented out taken in.
std::string Uncommented() {
  std::istringstream lines(Example());
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    absl::StrAppend(&text, std::regex_replace(line, kCommentedOut, "$1$2"), "\n");
  }
  return text;
}

struct Setting {
  std::string prose;  // the comment before it, and before its section
  std::string value;
};

// By name, as in "limits.groups_max".
std::map<std::string, Setting> Settings() {
  const std::regex setting(R"(^ *#([a-z_]+): (.*)$)");
  const std::regex section(R"(^#?([a-z_]+) \{$)");
  std::map<std::string, Setting> settings;
  std::istringstream lines(Example());
  std::string prefix;
  std::string section_prose;
  std::string prose;
  bool after_setting = false;
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, setting)) {
      settings[prefix + match[1].str()] = {section_prose + prose, match[2].str()};
      after_setting = true;  // one that follows at once shares the comment
    } else if (std::regex_match(line, match, section)) {
      prefix = match[1].str() + ".";
      section_prose = prose;
      prose.clear();
    } else if (line == "}" || line == "#}") {
      prefix.clear();
      section_prose.clear();
    } else if (line.empty() || after_setting) {
      prose = line;
      after_setting = false;
    } else {
      prose += line;
    }
  }
  return settings;
}

void ForEachField(const Descriptor* type, const std::string& prefix,
                  const std::function<void(const std::string&, const FieldDescriptor&)>& act) {
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor& field = *type->field(i);
    if (field.message_type() != nullptr) {
      ForEachField(field.message_type(), prefix + field.name() + ".", act);
    } else {
      act(prefix + field.name(), field);
    }
  }
}

TEST(ConfigExample, AsItIsItChangesNothing) {
  const absl::StatusOr<Config> config = ParseConfig(CONFIG_EXAMPLE, Example());
  ASSERT_OK(config);
  EXPECT_EQ(ConfigText(*config), ConfigText(Config()));
}

TEST(ConfigExample, ValuesAreTheDefaults) {
  absl::StatusOr<Config> config = ParseConfig(CONFIG_EXAMPLE, Uncommented());
  ASSERT_OK(config);
  // These two have no default of one value.
  EXPECT_EQ(config->peer_access.proof_bytes, 64_MiB);
  EXPECT_EQ(config->gpu_users.size(), 1u);
  config->peer_access.proof_bytes = std::nullopt;
  config->gpu_users.clear();
  EXPECT_EQ(ConfigText(*config), ConfigText(Config()));
}

TEST(ConfigExample, ShowsEverySettingOfTheSchemaAndNoOther) {
  std::set<std::string> shown;
  for (const auto& [name, setting] : Settings()) shown.insert(name);
  std::set<std::string> known;
  ForEachField(v1::DaemonConfig::descriptor(), "",
               [&](const std::string& name, const FieldDescriptor&) { known.insert(name); });
  EXPECT_EQ(shown, known);
}

TEST(ConfigExample, SaysOfEverySettingWhetherAReloadTakesIt) {
  for (const auto& [name, setting] : Settings()) {
    // One word for all of a gpu_access.
    const bool reloaded = IsReloaded(absl::StartsWith(name, "gpu_access.") ? "gpu_access" : name);
    EXPECT_THAT(setting.prose, HasSubstr(reloaded ? "[reload]" : "[restart]")) << name;
    EXPECT_EQ(absl::StrContains(setting.prose, "[reload]"), reloaded) << name;
    EXPECT_EQ(absl::StrContains(setting.prose, "[restart]"), !reloaded) << name;
  }
}

TEST(ConfigExample, SaysTheUnitOfEveryNumber) {
  const std::map<std::string, Setting> settings = Settings();
  const std::regex unit("bytes|milliseconds|a second|counts|[Pp]lanes that|user");
  ForEachField(v1::DaemonConfig::descriptor(), "",
               [&](const std::string& name, const FieldDescriptor& field) {
                 if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING ||
                     field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
                   return;
                 }
                 const auto setting = settings.find(name);
                 ASSERT_NE(setting, settings.end()) << name;
                 EXPECT_TRUE(std::regex_search(setting->second.prose, unit)) << name;
               });
}

}  // namespace
}  // namespace nodecomm
