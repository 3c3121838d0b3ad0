// What a reload takes of a changed configuration, and that no setting of the schema is forgotten.
#include "daemon/config/reload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "nodecomm/v1/config.pb.h"
#include "tests/daemon/config/every_value.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

// "limits.groups_max" and so on, of all settings that there are.
void AddNames(const google::protobuf::Descriptor* type, const std::string& prefix,
              std::vector<std::string>& names) {
  for (int i = 0; i < type->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = type->field(i);
    if (field->message_type() != nullptr && !field->is_repeated()) {
      AddNames(field->message_type(), prefix + field->name() + ".", names);
    } else {
      names.push_back(prefix + field->name());
    }
  }
}

TEST(CompareConfigs, SameIsNoChange) {
  const ConfigChanges changes = CompareConfigs(Config(), Config());
  EXPECT_THAT(changes.taken, IsEmpty());
  EXPECT_THAT(changes.waiting, IsEmpty());
}

TEST(CompareConfigs, NoSettingIsForgotten) {
  const absl::StatusOr<Config> fresh = ParseConfig("all", kEveryValueChanged);
  ASSERT_OK(fresh);
  const ConfigChanges changes = CompareConfigs(Config(), *fresh);
  std::vector<std::string> reported;
  for (const ConfigChange& change : changes.taken) {
    EXPECT_TRUE(IsReloaded(change.field)) << change.field;
    reported.push_back(change.field);
  }
  for (const ConfigChange& change : changes.waiting) {
    EXPECT_FALSE(IsReloaded(change.field)) << change.field;
    reported.push_back(change.field);
  }
  std::vector<std::string> all;
  AddNames(v1::DaemonConfig::descriptor(), "", all);
  EXPECT_THAT(reported, UnorderedElementsAreArray(all));
}

TEST(CompareConfigs, WhatIsSaidToBeTakenIsTakenAndNothingElse) {
  const absl::StatusOr<Config> fresh = ParseConfig("all", kEveryValueChanged);
  ASSERT_OK(fresh);
  const ConfigChanges changes = CompareConfigs(Config(), *fresh);
  const ConfigChanges again = CompareConfigs(changes.config, *fresh);
  EXPECT_THAT(again.taken, IsEmpty());
  EXPECT_EQ(again.waiting.size(), changes.waiting.size());
  const ConfigChanges back = CompareConfigs(changes.config, Config());
  EXPECT_EQ(back.taken.size(), changes.taken.size());
  EXPECT_THAT(back.waiting, IsEmpty());
}

TEST(CompareConfigs, ValuesAreThoseOfAFile) {
  Config fresh;
  fresh.limits.groups_max = 3;
  fresh.pool.planes_ready = 4;
  fresh.gpu_users = {{"GPU-a", {1, 2}}};
  const ConfigChanges changes = CompareConfigs(Config(), fresh);
  ASSERT_EQ(changes.taken.size(), 2u);
  EXPECT_EQ(changes.taken[0].field, "limits.groups_max");
  EXPECT_EQ(changes.taken[0].before, "256");
  EXPECT_EQ(changes.taken[0].after, "3");
  EXPECT_EQ(changes.taken[1].field, "gpu_access");
  EXPECT_EQ(changes.taken[1].before, "");
  EXPECT_EQ(changes.taken[1].after, "{ gpu_uuid: \"GPU-a\" uid: 1 uid: 2 }");
  ASSERT_EQ(changes.waiting.size(), 1u);
  EXPECT_EQ(changes.waiting[0].field, "pool.planes_ready");
}

TEST(ConfigText, IsAFileThatSaysTheSame) {
  const absl::StatusOr<Config> config = ParseConfig("all", kEveryValueChanged);
  ASSERT_OK(config);
  const absl::StatusOr<Config> again = ParseConfig("text", ConfigText(*config));
  ASSERT_OK(again);
  EXPECT_EQ(ConfigText(*again), ConfigText(*config));
  EXPECT_NE(ConfigText(*config), ConfigText(Config()));
}

}  // namespace
}  // namespace nodecomm
