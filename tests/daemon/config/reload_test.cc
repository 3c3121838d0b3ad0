// What a reload takes of a changed configuration, and that no setting of the schema is forgotten.
#include "daemon/config/reload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "nodecomm/v1/config.pb.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

// Every setting, none of which has its default.
constexpr char kAllChanged[] = R"(
    runtime_dir: "/tmp/n" runtime_dir_mode: "0750" admin_dir_mode: "0711" log_level: "debug"
    log_format: "json"
    pool {
      plane_bytes: 4194304 planes_ready: 1 bytes_per_gpu_max: 8388608
      bytes_per_gpu_per_uid_max: 6291456
    }
    group {
      rendezvous_timeout_ms: 1500 allow_gpu_sharing: true allow_pci: true disable_fast_path: true
      drain_timeout_ms: 5
    }
    limits {
      sessions_max: 5 sessions_per_uid_max: 4 control_connections_per_uid_max: 3 groups_max: 2
      groups_per_uid_max: 1 connections_per_uid_per_second: 7 calls_per_uid_per_second: 8
    }
    peer_access {
      trust_driver: true allow_unproven: true proof_bytes: 134217728 proof_timeout_ms: 2500
    }
    metrics { port: 9477 textfile: "/tmp/n.prom" textfile_interval_ms: 2000 }
    gpu_access { gpu_uuid: "GPU-51000000-0000-4000-8000-00000000000a" uid: 1000 uid: 1001 })";

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
  const absl::StatusOr<Config> fresh = ParseConfig("all", kAllChanged);
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
  const absl::StatusOr<Config> fresh = ParseConfig("all", kAllChanged);
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
  const absl::StatusOr<Config> config = ParseConfig("all", kAllChanged);
  ASSERT_OK(config);
  const absl::StatusOr<Config> again = ParseConfig("text", ConfigText(*config));
  ASSERT_OK(again);
  EXPECT_EQ(ConfigText(*again), ConfigText(*config));
  EXPECT_NE(ConfigText(*config), ConfigText(Config()));
}

}  // namespace
}  // namespace nodecomm
