#include "daemon/config/config.h"

#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "kernels/plane_layout.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

TEST(Config, EmptyFileHasTheDefaults) {
  const absl::StatusOr<Config> config = ParseConfig("d.conf", "");
  ASSERT_OK(config);
  EXPECT_EQ(config->runtime_dir, "/run/nodecomm");
  EXPECT_EQ(config->runtime_dir_mode, 0755u);
  EXPECT_EQ(config->admin_dir_mode, 0700u);
  EXPECT_EQ(config->log_level, LogLevel::kInfo);
  EXPECT_EQ(config->pool.plane_bytes, 36_MiB);
  EXPECT_EQ(config->pool.plane_bytes, kernels::kPlaneBytesDefault);
  EXPECT_EQ(config->pool.planes_ready, 2);
  EXPECT_EQ(config->pool.bytes_per_gpu_max, 4096_MiB);
  EXPECT_EQ(config->group.rendezvous_timeout, absl::Seconds(60));
  EXPECT_FALSE(config->group.allow_gpu_sharing);
  EXPECT_FALSE(config->group.allow_pci);
  EXPECT_EQ(config->limits.sessions_max, 1024);
  EXPECT_EQ(config->limits.sessions_per_uid_max, 256);
  EXPECT_EQ(config->limits.control_connections_per_uid_max, 256);
  EXPECT_EQ(config->limits.groups_max, 256);
  EXPECT_FALSE(config->group.disable_fast_path);
  EXPECT_FALSE(config->peer_access.trust_driver);
  EXPECT_FALSE(config->peer_access.allow_unproven);
  EXPECT_FALSE(config->peer_access.proof_bytes.has_value());
  EXPECT_EQ(config->peer_access.proof_timeout, absl::Seconds(10));
  EXPECT_EQ(config->metrics.port, 0);
  EXPECT_EQ(config->metrics.textfile, "");
  EXPECT_EQ(config->metrics.textfile_interval, absl::Seconds(15));
  EXPECT_THAT(config->gpu_users, IsEmpty());
}

TEST(Config, LogFormatIsOneOfTwo) {
  EXPECT_THAT(ParseConfig("d.conf", "log_format: \"xml\""),
              StatusIs(kInvalid, HasSubstr("log_format: \"xml\" is neither text nor json")));
}

TEST(Config, BadMetricsAreReported) {
  EXPECT_THAT(
      ParseConfig("d.conf",
                  R"(metrics { port: 65536 textfile: "/x/n.txt" textfile_interval_ms: 999 })"),
      StatusIs(kInvalid, AllOf(HasSubstr("metrics.port"), HasSubstr("does not end in .prom"),
                               HasSubstr("metrics.textfile_interval_ms"))));
  EXPECT_THAT(ParseConfig("d.conf", R"(metrics { textfile: "n.prom" })"),
              StatusIs(kInvalid, HasSubstr("absolute path")));
}

// The kernel would end the path at a NUL, and no message takes what is not UTF-8.
TEST(Config, PathsAreTextWithoutNul) {
  EXPECT_THAT(
      ParseConfig("d.conf", R"(runtime_dir: "/x/\377" metrics { textfile: "/x/\377.prom" })"),
      StatusIs(kInvalid,
               AllOf(HasSubstr("d.conf:1:1: field runtime_dir: \"/x/\\377\" is not UTF-8"),
                     HasSubstr("field metrics.textfile: \"/x/\\377.prom\" is not UTF-8"))));
  EXPECT_THAT(
      ParseConfig("d.conf", R"(runtime_dir: "/x\000y" metrics { textfile: "/x/cut\000.prom" })"),
      StatusIs(kInvalid,
               AllOf(HasSubstr("field runtime_dir: \"/x\\000y\" has a NUL byte"),
                     HasSubstr("field metrics.textfile: \"/x/cut\\000.prom\" has a NUL byte"))));
  EXPECT_OK(ParseConfig("d.conf", "runtime_dir: \"/x/\u00fc\""));
}

TEST(Config, EveryFieldIsTaken) {
  const absl::StatusOr<Config> config = ParseConfig("d.conf", R"(
    runtime_dir: "/tmp/n"
    runtime_dir_mode: "0750"
    admin_dir_mode: "711"
    log_level: "debug"
    log_format: "json"
    pool { plane_bytes: 4194304 planes_ready: 0 bytes_per_gpu_max: 8388608 }
    group {
      rendezvous_timeout_ms: 1500 allow_gpu_sharing: true allow_pci: true disable_fast_path: true
    }
    peer_access {
      trust_driver: true allow_unproven: true proof_bytes: 134217728 proof_timeout_ms: 2500
    }
    metrics { port: 9464 textfile: "/x/n.prom" textfile_interval_ms: 2000 }
    gpu_access { gpu_uuid: "GPU-51000000-0000-4000-8000-00000000000a" uid: 1000 }
    gpu_access { gpu_uuid: "GPU-51000000-0000-4000-8000-00000000000b" }
    gpu_access { gpu_uuid: "GPU-51000000-0000-4000-8000-00000000000a" uid: [ 1001, 1002 ] }
    limits {
      sessions_max: 5 sessions_per_uid_max: 4 control_connections_per_uid_max: 3 groups_max: 2
    })");
  ASSERT_OK(config);
  EXPECT_EQ(config->runtime_dir, "/tmp/n");
  EXPECT_EQ(config->runtime_dir_mode, 0750u);
  EXPECT_EQ(config->admin_dir_mode, 0711u);
  EXPECT_EQ(config->log_level, LogLevel::kDebug);
  EXPECT_EQ(config->log_format, LogFormat::kJson);
  EXPECT_EQ(config->pool.plane_bytes, 4_MiB);
  EXPECT_EQ(config->pool.planes_ready, 0);
  EXPECT_EQ(config->pool.bytes_per_gpu_max, 8_MiB);
  EXPECT_EQ(config->group.rendezvous_timeout, absl::Milliseconds(1500));
  EXPECT_TRUE(config->group.allow_gpu_sharing);
  EXPECT_TRUE(config->group.allow_pci);
  EXPECT_EQ(config->limits.sessions_max, 5);
  EXPECT_EQ(config->limits.sessions_per_uid_max, 4);
  EXPECT_EQ(config->limits.control_connections_per_uid_max, 3);
  EXPECT_EQ(config->limits.groups_max, 2);
  EXPECT_TRUE(config->group.disable_fast_path);
  EXPECT_TRUE(config->peer_access.trust_driver);
  EXPECT_TRUE(config->peer_access.allow_unproven);
  EXPECT_EQ(config->peer_access.proof_bytes, 128_MiB);
  EXPECT_EQ(config->metrics.port, 9464);
  EXPECT_EQ(config->metrics.textfile, "/x/n.prom");
  EXPECT_EQ(config->metrics.textfile_interval, absl::Seconds(2));
  EXPECT_EQ(config->peer_access.proof_timeout, absl::Milliseconds(2500));
  EXPECT_THAT(config->gpu_users,
              UnorderedElementsAre(Pair("GPU-51000000-0000-4000-8000-00000000000a",
                                        UnorderedElementsAre(1000, 1001, 1002)),
                                   Pair("GPU-51000000-0000-4000-8000-00000000000b", IsEmpty())));
}

TEST(Config, BadPeerAccessIsReported) {
  EXPECT_THAT(ParseConfig("d.conf", R"(
    peer_access { proof_bytes: 3 proof_timeout_ms: 5 }
    gpu_access { uid: 7 })"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("peer_access.proof_bytes"),
                             HasSubstr("peer_access.proof_timeout_ms"), HasSubstr("gpu_access"),
                             HasSubstr("d.conf:3:5: field gpu_access[0]: has no gpu_uuid"))));
  EXPECT_THAT(ParseConfig("d.conf", "peer_access { proof_bytes: 2147483648 }"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 GiB")));
}

// A GPU that no entry names is for everybody.
TEST(Config, AccessToWhatIsNoGpuIsAnError) {
  for (const char* uuid : {"GPU-a", "GPU-51000000-0000-4000-8000-00000000000",
                           "GPU-51000000-0000-4000-8000-00000000000g",
                           "MIG-51000000-0000-4000-8000-00000000000a", "51000000"}) {
    EXPECT_THAT(
        ParseConfig(
            "d.conf",
            absl::StrCat("gpu_access { gpu_uuid: \"GPU-51000000-0000-4000-8000-00000000000a\" }\n"
                         "gpu_access {\n  gpu_uuid: \"",
                         uuid, "\"\n}")),
        StatusIs(kInvalid, HasSubstr(absl::StrCat("d.conf:3:3: field gpu_access[1].gpu_uuid: \"",
                                                  uuid, "\" is no GPU UUID"))));
  }
}

TEST(Config, UnknownFieldIsNamedWithItsPlace) {
  EXPECT_THAT(ParseConfig("d.conf", "log_level: \"info\"\npool {\n  plane_byte: 1\n}\n"),
              StatusIs(kInvalid, AllOf(StartsWith("d.conf:3:"), HasSubstr("\"plane_byte\""))));
}

TEST(Config, ValueOfTheWrongTypeShowsPlaceAndField) {
  EXPECT_THAT(ParseConfig("d.conf", "\npool { planes_ready: \"two\" }"),
              StatusIs(kInvalid, AllOf(StartsWith("d.conf:2:"), HasSubstr("planes_ready"),
                                       HasSubstr("two"))));
}

TEST(Config, UnbalancedBraceIsAnErrorWithItsPlace) {
  EXPECT_THAT(ParseConfig("d.conf", "pool {\n  planes_ready: 1\n"),
              StatusIs(kInvalid, StartsWith("d.conf:3:")));
}

TEST(Config, PlaneBytesMustBeAMultipleOfTheGranularity) {
  EXPECT_THAT(ParseConfig("d.conf", "pool {\n  plane_bytes: 3\n}"),
              StatusIs(kInvalid,
                       "d.conf:2:3: field pool.plane_bytes: 3 is not a multiple of "
                       "2097152 (2 MiB)"));
  EXPECT_THAT(ParseConfig("d.conf", "pool { plane_bytes: 0 }"),
              StatusIs(kInvalid, HasSubstr("field pool.plane_bytes: must be more than 0")));
}

TEST(Config, EveryBadValueIsReported) {
  const absl::Status status = ParseConfig("d.conf",
                                          "runtime_dir: \"run\"\n"
                                          "log_level: \"loud\"\n"
                                          "pool { planes_ready: -1 }\n"
                                          "group { rendezvous_timeout_ms: 0 }\n"
                                          "limits { sessions_max: 0 groups_max: 1000000 }\n")
                                  .status();
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("d.conf:1:1: field runtime_dir: ")));
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("d.conf:2:1: field log_level: \"loud\"")));
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("d.conf:3:8: field pool.planes_ready: -1")));
  EXPECT_THAT(status,
              StatusIs(kInvalid, HasSubstr("d.conf:4:9: field group.rendezvous_timeout_ms: 0")));
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("d.conf:5:10: field limits.sessions_max: 0")));
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("field limits.groups_max: 1000000")));
}

TEST(Config, BadModesAreErrors) {
  for (const char* mode : {"", "rwx", "0788", "07777", "1755", "75"}) {
    EXPECT_THAT(ParseConfig("d.conf", absl::StrCat("runtime_dir_mode: \"", mode, "\"")),
                StatusIs(kInvalid, HasSubstr("d.conf:1:1: field runtime_dir_mode: ")))
        << mode;
  }
  EXPECT_THAT(ParseConfig("d.conf", "runtime_dir_mode: \"0777\""),
              StatusIs(kInvalid, HasSubstr("write access")));
  EXPECT_THAT(ParseConfig("d.conf", "admin_dir_mode: \"0055\""),
              StatusIs(kInvalid, HasSubstr("field admin_dir_mode: ")));
}

TEST(Config, StockMustFitIntoTheLimit) {
  EXPECT_THAT(ParseConfig("d.conf",
                          "pool { plane_bytes: 4194304 planes_ready: 3 "
                          "bytes_per_gpu_max: 8388608 }"),
              StatusIs(kInvalid, HasSubstr("field pool.bytes_per_gpu_max: 8388608 is less than")));
  EXPECT_THAT(ParseConfig("d.conf",
                          "pool { plane_bytes: 4194304 planes_ready: 2 "
                          "bytes_per_gpu_max: 8388608 }"),
              IsOk());
}

TEST(Config, RuntimeDirMustLeaveRoomForTheSocketsNames) {
  const auto of_length = [](size_t length) {
    return absl::StrCat("runtime_dir: \"/", std::string(length - 1, 'd'), "\"");
  };
  EXPECT_THAT(ParseConfig("d.conf", of_length(90)), IsOk());
  EXPECT_THAT(ParseConfig("d.conf", of_length(91)),
              StatusIs(kInvalid, AllOf(HasSubstr("d.conf:1:1: field runtime_dir: "),
                                       HasSubstr("has 91 characters, of at most 90"))));
}

TEST(Config, WhatIsNoTextIsNamed) {
  EXPECT_THAT(ParseConfig("d.conf", "\xef\xbb\xbflimits { groups_max: 7 }"),
              StatusIs(kInvalid,
                       "d.conf:1:1: begins with a byte-order mark: save the file "
                       "without one"));
  EXPECT_THAT(ParseConfig("d.conf", std::string("\nlog_level: \"in\0fo\"", 19)),
              StatusIs(kInvalid, HasSubstr("d.conf:2: has a NUL byte")));
}

TEST(Config, NonsenseOfAnyShapeIsAnErrorNotACrash) {
  for (const char* text :
       {"{", "}", ":", "pool", "pool: 3", "pool { pool { } }", "\xff\xfe", "1"}) {
    EXPECT_THAT(ParseConfig("d.conf", text), Not(IsOk())) << text;
  }
}

TEST(LoadConfig, MissingFileIsNamed) {
  EXPECT_THAT(LoadConfig("/nonexistent/d.conf"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent/d.conf")));
}

TEST(LoadConfig, DirectoryIsNoFile) { EXPECT_THAT(LoadConfig("/tmp"), Not(IsOk())); }

// It would be read as one that sets nothing.
TEST(LoadConfig, PipeIsNoFile) {
  const std::string path = testing::TempDir() + "config_test_pipe." + std::to_string(getpid());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(LoadConfig(path), StatusIs(kInvalid, HasSubstr(path + " is a pipe, not a file")));
  unlink(path.c_str());
}

TEST(LoadConfig, ReadsAFileAndNamesItInErrors) {
  const std::string path = testing::TempDir() + "config_test." + std::to_string(getpid());
  std::ofstream(path) << "limits { groups_max: 7 }";
  const absl::StatusOr<Config> config = LoadConfig(path);
  ASSERT_OK(config);
  EXPECT_EQ(config->limits.groups_max, 7);
  std::ofstream(path) << "bogus: 1";
  EXPECT_THAT(LoadConfig(path), StatusIs(kInvalid, StartsWith(path + ":1:")));
  unlink(path.c_str());
}

TEST(LoadConfig, EndlessFileIsCutOff) {
  EXPECT_THAT(LoadConfig("/dev/zero"), StatusIs(kInvalid, HasSubstr("longer than")));
}

}  // namespace
}  // namespace nodecomm
