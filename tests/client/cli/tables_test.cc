// The tables that people read, to the letter.
#include "client/cli/tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/text_table.h"

namespace nodecomm {
namespace {

TEST(RenderForeign, LeavesNothingThatATerminalObeys) {
  EXPECT_EQ(RenderForeign("a\n\x1b[31m\\"), "a\\n\\x1b[31m\\\\");
  EXPECT_EQ(RenderForeign("the pool's \"plane\""), "the pool's \"plane\"");
  EXPECT_EQ(RenderForeign("'"), "'");
  EXPECT_EQ(RenderForeign(""), "");
  EXPECT_EQ(RenderForeign("\u009b31m\u0085 \u00a0\u00e9"), "\\u009b31m\\u0085 \u00a0\u00e9");
  EXPECT_EQ(RenderForeign("\x9b;31m"), "\\x9b;31m");
}

TEST(RenderStatus, ShowsWhatRuns) {
  v1::GetStatusResponse status;
  status.set_version_line("0.1.0 (commit abc, CUDA 13.0)");
  status.set_pid(4242);
  status.set_uptime_ms(7'384'567);
  status.set_platform(v1::PLATFORM_SIMULATED);
  status.set_topology_source("host.textproto");
  status.set_gpus(4);
  status.set_sessions(8);
  status.set_groups_forming(1);
  status.set_groups_ready(2);
  status.set_pairs_proven(12);
  status.set_pairs_failed(1);
  status.set_pairs_unproven(2);
  EXPECT_EQ(RenderStatus(status), R"(nodecommd    0.1.0 (commit abc, CUDA 13.0)
pid          4242
up           2h3m4s
platform     simulated
topology     host.textproto
GPUs         4
sessions     8
groups       2 ready, 1 forming
peer access  12 pairs proven, 1 failed, 2 unproven
)");
  status.set_driver_trusted(true);
  EXPECT_THAT(RenderStatus(status), testing::HasSubstr("driver trusted: it is not proven"));
  status.set_not_ready("waiting for a GPU");
  EXPECT_THAT(RenderStatus(status), testing::HasSubstr("\nnot ready    waiting for a GPU\n"));
  status.set_reload_problem("FILE:1:2: wrong");
  EXPECT_THAT(RenderStatus(status), testing::HasSubstr("\nlast reload  failed: FILE:1:2: wrong\n"));
}

TEST(RenderStatus, SaysWhichLinksFail) {
  v1::GetStatusResponse status;
  EXPECT_THAT(RenderStatus(status), testing::Not(testing::HasSubstr("link")));
  status.add_access_lost();
  v1::NvlinkErrors* const counted = status.add_nvlink_errors();
  counted->set_gpu_uuid("GPU-b");
  counted->set_errors(12);
  EXPECT_THAT(
      RenderStatus(status),
      testing::EndsWith("\nlinks        1 pair without peer access any more: nodecommctl "
                        "doctor\nNVLinks      12 errors on GPU-b since the daemon's start\n"));
}

TEST(RenderStatus, SaysWhyTheMetricsAreNotWritten) {
  v1::GetStatusResponse status;
  EXPECT_THAT(RenderStatus(status), testing::Not(testing::HasSubstr("metrics")));
  status.set_metrics_problem("the metrics cannot be written: full");
  EXPECT_THAT(RenderStatus(status),
              testing::HasSubstr("\nmetrics      the metrics cannot be written: full\n"));
}

TEST(RenderStatus, SaysThatLinesOfTheLogAreLost) {
  v1::GetStatusResponse status;
  EXPECT_THAT(RenderStatus(status), testing::Not(testing::HasSubstr("log ")));
  status.set_log_problem("3 lines of the log are lost: full");
  EXPECT_THAT(RenderStatus(status),
              testing::HasSubstr("\nlog          3 lines of the log are lost: full\n"));
}

TEST(RenderStatus, SaysWhyErrorsOfGpusAreNotWatched) {
  v1::GetStatusResponse status;
  EXPECT_THAT(RenderStatus(status), testing::Not(testing::HasSubstr("GPU errors")));
  status.set_gpu_errors_problem("not while one is drained");
  EXPECT_THAT(RenderStatus(status),
              testing::HasSubstr("\nGPU errors   not while one is drained\n"));
}

TEST(RenderStatus, SaysHowManyGpusAreLostOrOutOfService) {
  v1::GetStatusResponse status;
  status.set_gpus(8);
  status.set_gpus_lost(1);
  EXPECT_THAT(RenderStatus(status), testing::HasSubstr("\nGPUs         8, 1 lost\n"));
  status.set_gpus_draining(2);
  EXPECT_THAT(RenderStatus(status), testing::HasSubstr("\nGPUs         8, 2 draining, 1 lost\n"));
  v1::TopView view;
  *view.mutable_status() = status;
  EXPECT_THAT(RenderTop(view), testing::HasSubstr("\n8 GPUs, 2 draining, 1 lost   0 sessions"));
  const auto add = [&](const char* uuid, v1::DrainState state) {
    v1::GpuDrain* const drain = status.add_drains();
    drain->set_gpu_uuid(uuid);
    drain->set_state(state);
  };
  add("GPU-a", v1::DRAIN_STATE_DRAINING);
  add("GPU-b", v1::DRAIN_STATE_DRAINED);
  add("GPU-c", v1::DRAIN_STATE_GONE);
  EXPECT_THAT(
      RenderStatus(status),
      testing::AllOf(testing::HasSubstr(
                         "\nGPUs         8, 1 draining, 1 drained, 1 drained and gone, 1 lost\n"),
                     testing::HasSubstr(
                         "GPU-c was drained, and this host has it no more: nodecommctl undrain")));
}

TEST(RenderGroups, SaysThatThereAreNone) {
  EXPECT_EQ(RenderGroups(v1::ListGroupsResponse()), "No groups.\n");
}

TEST(RenderGroups, ShowsMembersAndWhoIsWaitedFor) {
  v1::ListGroupsResponse groups;
  v1::GroupInfo& group = *groups.add_groups();
  group.set_name("tp0");
  group.set_generation(7);
  group.set_uid(1000);
  group.set_state(v1::GROUP_STATE_GATHERING);
  group.set_world_size(4);
  group.set_state_ms(1500);
  group.set_plane_bytes(36 << 20);
  v1::GroupMember& first = *group.add_members();
  first.set_rank(0);
  first.set_pid(4242);
  first.set_gpu_uuid("GPU-a");
  v1::GroupMember& second = *group.add_members();
  second.set_rank(3);
  second.set_pid(99);
  second.set_gpu_uuid("GPU-b");
  second.set_left(true);
  v1::GroupMember& third = *group.add_members();
  third.set_rank(4);
  third.set_pid(100);
  third.set_gpu_uuid("GPU-c");
  third.set_process_state(v1::PROCESS_STATE_STOPPED);
  group.add_missing_ranks(1);
  group.add_missing_ranks(2);
  EXPECT_EQ(
      RenderGroups(groups),
      R"(tp0  generation 7, uid 1000, gathering for 1s, 3 of 4 ranks joined, planes of 36 MiB, shared buffers 0 a GPU
  rank 0  pid 4242  GPU-a
  rank 3  pid 99    GPU-b  left
  rank 4  pid 100   GPU-c  stopped
  waits for ranks 1, 2
)");
}

TEST(RenderGroups, SaysWhyAGroupHasNoFastPath) {
  v1::ListGroupsResponse groups;
  v1::GroupInfo& group = *groups.add_groups();
  EXPECT_THAT(RenderGroups(groups), testing::Not(testing::HasSubstr("fast path"))) << "not known";
  group.mutable_fast_path()->set_detail("No fast path: it is forbidden. Use NCCL for this group.");
  EXPECT_THAT(RenderGroups(groups),
              testing::EndsWith("\n  No fast path: it is forbidden. Use NCCL for this group.\n"));
  group.mutable_fast_path()->set_supported(true);
  group.mutable_fast_path()->clear_detail();
  EXPECT_THAT(RenderGroups(groups), testing::Not(testing::HasSubstr("fast path")));
}

TEST(RenderGroups, SpeaksOfOneRankAsOfOne) {
  v1::ListGroupsResponse groups;
  groups.add_groups()->set_world_size(1);
  groups.mutable_groups(0)->add_missing_ranks(0);
  const std::string text = RenderGroups(groups);
  EXPECT_THAT(text, testing::HasSubstr("0 of 1 rank joined"));
  EXPECT_THAT(text, testing::HasSubstr("  waits for rank 0\n"));
}

TEST(RenderTop, SaysWhatIsMissingAndWhoIsStopped) {
  v1::TopView view;
  EXPECT_THAT(RenderTop(view), testing::Not(testing::HasSubstr("not ready")));
  view.mutable_status()->set_not_ready("GPU a is lost");
  v1::GroupInfo& group = *view.add_groups();
  group.set_state(v1::GROUP_STATE_READY);
  group.add_members()->set_process_state(v1::PROCESS_STATE_GOES_ON);
  EXPECT_THAT(RenderTop(view), testing::Not(testing::HasSubstr("stopped")));
  group.add_members()->set_process_state(v1::PROCESS_STATE_STOPPED);
  EXPECT_THAT(RenderTop(view), testing::AllOf(testing::HasSubstr("\nnot ready: GPU a is lost\n\n"),
                                              testing::HasSubstr("ready, 1 stopped")));
}

TEST(CutToHeight, SaysHowManyLinesAreLeftOut) {
  EXPECT_EQ(CutToHeight("a\nb\nc\n", 3), "a\nb\nc\n");
  EXPECT_EQ(CutToHeight("a\nb\nc\n", 2), "a\n(2 more lines)\n");
  EXPECT_EQ(CutToHeight("a\nb\nc\n", -1), "a\nb\nc\n");
  EXPECT_EQ(CutToHeight("", 5), "");
}

TEST(RenderTop, SpeaksOfOneAsOfOne) {
  v1::TopView view;
  view.mutable_status()->set_gpus(1);
  view.mutable_status()->set_sessions(1);
  view.mutable_status()->set_groups_ready(1);
  view.mutable_status()->set_pairs_proven(1);
  EXPECT_THAT(RenderTop(view), testing::HasSubstr("1 GPU   1 session   1 group ready, 0 forming   "
                                                  "1 pair proven, 0 failed"));
}

TEST(RenderGroups, ShowsWhyAGroupWasAborted) {
  v1::ListGroupsResponse groups;
  v1::GroupInfo& group = *groups.add_groups();
  group.set_name("tp0");
  group.set_state(v1::GROUP_STATE_ABORTED);
  group.set_abort_reason("process 99 has ended");
  EXPECT_EQ(
      RenderGroups(groups),
      R"(tp0  generation 0, uid 0, aborted for 0s, 0 of 0 ranks joined, planes of 0, shared buffers 0 a GPU
  aborted: process 99 has ended
)");
}

// Workers choose names and reasons; an administrator's terminal must not obey them.
TEST(RenderGroups, EscapesControlCharactersOfWorkers) {
  v1::ListGroupsResponse groups;
  v1::GroupInfo& group = *groups.add_groups();
  group.set_name("\x1b[2Jtp\n");
  group.set_abort_reason("\x1b]0;gotcha\a");
  const std::string text = RenderGroups(groups);
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
  EXPECT_EQ(text.find('\a'), std::string::npos) << text;
  EXPECT_TRUE(text.starts_with("\\x1b[2Jtp\\n  ")) << text;
}

TEST(RenderPools, ShowsStockAndAccount) {
  v1::ListPoolsResponse pools;
  v1::PoolInfo& pool = *pools.add_pools();
  pool.set_gpu_uuid("GPU-a");
  pool.set_plane_bytes(36 << 20);
  pool.set_planes_ready(1);
  pool.set_planes_ready_target(2);
  pool.set_planes_in_use(3);
  pool.set_bytes_ready(36 << 20);
  pool.set_bytes_in_use(110 << 20);
  pool.set_bytes_max(4ULL << 30);
  pool.set_last_error("the GPU has no memory left\x1b[2J");
  EXPECT_EQ(RenderPools(pools),
            R"(GPU    Plane   Ready   In use  Bytes ready  Bytes in use  Limit
GPU-a  36 MiB  1 of 2  3       36 MiB       110 MiB       4 GiB
GPU-a: the last refill failed: the GPU has no memory left\x1b[2J
)");
}

TEST(RenderPools, SaysThatThereAreNone) {
  EXPECT_EQ(RenderPools(v1::ListPoolsResponse()), "No pools.\n");
}

TEST(RenderSessions, ShowsWhoIsThereAndTheirGroups) {
  v1::ListSessionsResponse sessions;
  EXPECT_EQ(RenderSessions(sessions), "No sessions.\n");
  v1::SessionInfo& session = *sessions.add_sessions();
  session.set_session("00000000000000ab");
  session.set_uid(1000);
  session.set_pid(4001);
  session.set_age_ms(61'000);
  session.add_generations(7);
  session.add_generations(9);
  session.set_process_state(v1::PROCESS_STATE_GOES_ON);
  v1::SessionInfo& stopped = *sessions.add_sessions();
  stopped.set_session("00000000000000ac");
  stopped.set_process_state(v1::PROCESS_STATE_STOPPED);
  EXPECT_EQ(RenderSessions(sessions),
            R"(Session           User  Process  Open for  Groups  State
00000000000000ab  1000  4001     1m1s      7, 9
00000000000000ac  0     0        0s                stopped
)");
}

TEST(RenderSessions, BoundsTheListOfGroups) {
  v1::ListSessionsResponse sessions;
  v1::SessionInfo& session = *sessions.add_sessions();
  for (int i = 1; i <= 4; ++i) session.add_generations(i);
  EXPECT_THAT(RenderSessions(sessions), testing::EndsWith("  1, 2, 3, 4\n"));
  for (int i = 5; i <= 20; ++i) session.add_generations(i);
  EXPECT_THAT(RenderSessions(sessions), testing::EndsWith("  1, 2, 3, 4 and 16 more\n"));
}

TEST(RenderConfig, SaysWhatWaitsForARestart) {
  v1::GetConfigResponse config;
  config.mutable_config()->set_log_level("info");
  v1::WaitingSetting* setting = config.add_waiting();
  setting->set_field("limits.sessions_max");
  setting->set_in_force("1024");
  setting->set_in_file("2048");
  config.add_waiting()->set_field("metrics.textfile");
  EXPECT_EQ(RenderConfig(config),
            R"(# In force: from no file, the defaults and the command line.
# Waits for a restart: limits.sessions_max, 2048 in the file.
# Waits for a restart: metrics.textfile, not set in the file.
log_level: "info"
)");
}

TEST(RenderConfig, IsAFileThatSaysWhereItComesFrom) {
  v1::GetConfigResponse config;
  config.mutable_config()->set_log_level("info");
  EXPECT_EQ(RenderConfig(config),
            "# In force: from no file, the defaults and the command line.\nlog_level: \"info\"\n");
  config.set_config_path("/etc/n\n");
  EXPECT_EQ(RenderConfig(config),
            "# In force: from /etc/n\\n, defaults and the command line.\nlog_level: \"info\"\n");
}

TEST(RenderTop, ShowsGroupsWithTimeInStateAndTheRanksThatAreMissing) {
  v1::TopView view;
  view.mutable_status()->set_uptime_ms(5000);
  view.mutable_status()->set_sessions(3);
  EXPECT_THAT(RenderTop(view), testing::HasSubstr("No groups.\n"));
  v1::GroupInfo& group = *view.add_groups();
  group.set_name("tp\033[2J");
  group.set_uid(1000);
  group.set_state(v1::GROUP_STATE_GATHERING);
  group.set_state_ms(2000);
  group.set_world_size(4);
  group.add_members();
  for (const int rank : {1, 3}) group.add_missing_ranks(rank);
  const std::string text = RenderTop(view);
  EXPECT_THAT(text, testing::HasSubstr("nodecommd, up 5s"));
  EXPECT_THAT(text, testing::HasSubstr("3 sessions"));
  EXPECT_THAT(text, testing::HasSubstr("gathering  2s   1 of 4  1,3"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("\033")));
}

TEST(RenderBytes, ChoosesTheUnit) {
  EXPECT_EQ(RenderBytes({0}), "0");
  EXPECT_EQ(RenderBytes({1023}), "1023 B");
  EXPECT_EQ(RenderBytes({1024}), "1 KiB");
  EXPECT_EQ(RenderBytes({1536}), "1.5 KiB");
  EXPECT_EQ(RenderBytes({85520809984}), "79.6 GiB");
  EXPECT_EQ(RenderBytes({3ULL << 50}), "3072 TiB");
}

TEST(Counted, HasOneOfOne) {
  EXPECT_EQ(Counted(0, "group"), "0 groups");
  EXPECT_EQ(Counted(1, "group"), "1 group");
  EXPECT_EQ(Counted(2, "GPU"), "2 GPUs");
}

TEST(RenderDuration, ShowsWholeSeconds) {
  EXPECT_EQ(RenderDuration(absl::Milliseconds(999)), "0s");
  EXPECT_EQ(RenderDuration(absl::Milliseconds(61'999)), "1m1s");
}

TEST(RenderTable, AlignsColumnsAndEndsLinesWithoutSpaces) {
  EXPECT_EQ(RenderTable({{"a", "bb", ""}, {"aaa", "b"}}), "a    bb\naaa  b\n");
}

}  // namespace
}  // namespace nodecomm
