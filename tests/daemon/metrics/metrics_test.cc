// What Prometheus reads: every event counted under its label, every state as it is, and no more
// series than the host's size allows.
#include "daemon/metrics/metrics.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/topology/inventory.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

MetricsSnapshot EightGpus() {
  MetricsSnapshot now;
  const auto inventory = CreateFileInventory(NODECOMM_TOPOLOGY_DIR "/hgx-h100-x8.textproto");
  EXPECT_OK(inventory);
  const auto host = (*inventory)->Read();
  EXPECT_OK(host);
  now.host = *host;
  now.start_time = absl::FromUnixSeconds(1700000000);
  now.sessions_max = 1024;
  return now;
}

std::vector<std::string> LinesOf(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

// The lines without comments.
std::vector<std::string> SeriesOf(const Metrics& metrics, const MetricsSnapshot& now) {
  std::vector<std::string> lines = LinesOf(metrics.Expose(now));
  std::erase_if(lines, [](const std::string& line) { return line.starts_with("#"); });
  return lines;
}

std::string FirstGpu(const MetricsSnapshot& now) { return now.host.gpus(0).uuid(); }

TEST(Metrics, EventsAreCountedUnderTheirLabels) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  metrics->Take(SessionOpened());
  metrics->Take(SessionOpened());
  metrics->Take(SessionEnded{SessionEnd::kProtocol});
  metrics->Take(Refusal{.door = Door::kAdmin, .cause = RefusalCause::kNotAdministrator});
  metrics->Take(AuthFailure::kForeignToken);
  metrics->Take(GroupNews{.what = GroupNews::What::kReady, .age = absl::Milliseconds(700)});
  metrics->Take(GroupNews{.what = GroupNews::What::kEnded,
                          .age = absl::Minutes(10),
                          .phase = GroupPhase::kReady,
                          .end = GroupEnd::kGpuLost});
  metrics->Take(GroupNews{.what = GroupNews::What::kEnded,
                          .age = absl::Seconds(60),
                          .phase = GroupPhase::kForming,
                          .end = GroupEnd::kDeadline});
  metrics->Take(CallEnded{.service = "nodecomm.v1.Control",
                          .method = "JoinGroup",
                          .code = absl::StatusCode::kDeadlineExceeded,
                          .duration = absl::Seconds(2)});
  metrics->Take(XidSeen{.gpu_uuid = "GPU-a", .code = 79});
  EXPECT_THAT(
      SeriesOf(*metrics, {}),
      AllOf(Contains("nodecomm_sessions_opened_total 2"),
            Contains("nodecomm_session_terminations_total{reason=\"protocol\"} 1"),
            Contains("nodecomm_connections_refused_total{reason=\"not_administrator\",socket="
                     "\"admin\"} 1"),
            Contains("nodecomm_auth_failures_total{reason=\"foreign_token\"} 1"),
            Contains("nodecomm_rendezvous_duration_seconds_count{outcome=\"ready\"} 1"),
            Contains("nodecomm_rendezvous_duration_seconds_bucket{outcome=\"ready\",le=\"0.5\"} 0"),
            Contains("nodecomm_rendezvous_duration_seconds_bucket{outcome=\"ready\",le=\"1\"} 1"),
            Contains("nodecomm_rendezvous_duration_seconds_count{outcome=\"failed\"} 1")));
  EXPECT_THAT(
      SeriesOf(*metrics, {}),
      AllOf(Contains("nodecomm_group_terminations_total{phase=\"ready\",reason=\"gpu_lost\"} 1"),
            Contains("nodecomm_group_terminations_total{phase=\"forming\",reason=\"deadline\"} 1"),
            Contains("nodecomm_rpcs_total{code=\"DEADLINE_EXCEEDED\",method=\"JoinGroup\",service="
                     "\"nodecomm.v1.Control\"} 1"),
            Contains("nodecomm_rpc_duration_seconds_sum{method=\"JoinGroup\",service=\"nodecomm.v1."
                     "Control\"} 2"),
            Contains("nodecomm_gpu_xid_errors_total{gpu_uuid=\"GPU-a\",xid=\"79\"} 1")));
}

TEST(Metrics, WhatNeverHappenedReadsZeroAndWhatCannotIsNotThere) {
  const std::vector<std::string> series = SeriesOf(*Metrics::Create(), {});
  EXPECT_THAT(
      series,
      AllOf(Contains("nodecomm_auth_failures_total{reason=\"no_token\"} 0"),
            Contains("nodecomm_connections_refused_total{reason=\"rate\",socket=\"session\"} 0"),
            Contains("nodecomm_group_terminations_total{phase=\"ready\",reason=\"left\"} 0"),
            // A rank that gives its join up.
            Contains("nodecomm_group_terminations_total{phase=\"forming\",reason="
                     "\"member_aborted\"} 0"),
            Not(Contains(HasSubstr("phase=\"forming\",reason=\"left\"")))));
}

TEST(Metrics, StreamsHaveNoDuration) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  metrics->Take(CallEnded{.service = "s", .method = "m"});
  const std::vector<std::string> series = SeriesOf(*metrics, {});
  EXPECT_THAT(series, Contains("nodecomm_rpcs_total{code=\"OK\",method=\"m\",service=\"s\"} 1"));
  EXPECT_THAT(series, Not(Contains(HasSubstr("nodecomm_rpc_duration"))));
}

TEST(Metrics, StatesAreThoseOfTheMoment) {
  MetricsSnapshot now = EightGpus();
  const std::string gpu = FirstGpu(now);
  now.host.mutable_gpus(0)->set_condition(v1::GPU_CONDITION_LOST);
  now.host.mutable_gpus(0)->set_nvlink_errors(17);
  now.sessions = 3;
  now.ready = true;
  now.runtime_dir_lost = true;
  now.runtime_dir_writable = false;
  now.log_lines_not_written = 5;
  now.watches_errors = false;
  now.groups.resize(2);
  now.groups[0].set_state(v1::GROUP_STATE_READY);
  now.groups[1].set_state(v1::GROUP_STATE_GATHERING);
  now.groups[1].set_files_problem("its page was removed");
  now.pools.resize(1);
  now.pools[0].set_gpu_uuid(gpu);
  now.pools[0].set_bytes_in_use(1 << 30);
  now.pools[0].set_last_error("out of memory");
  v1::PeerProof* proof = now.proofs.add_proofs();
  proof->set_from_uuid(gpu);
  proof->set_to_uuid(now.host.gpus(1).uuid());
  proof->set_verdict(v1::PROOF_VERDICT_FAILED);
  proof->set_write_gigabytes_per_second(250);
  const std::string pair =
      absl::StrCat("{from_gpu_uuid=\"", gpu, "\",to_gpu_uuid=\"", proof->to_uuid(), "\"");
  const std::vector<std::string> series = SeriesOf(*Metrics::Create(), now);
  const std::string of_gpu = absl::StrCat("{gpu_uuid=\"", gpu, "\"");
  for (const std::string& line : {
           std::string("nodecomm_ready 1"),
           std::string("nodecomm_runtime_dir_intact 0"),
           std::string("nodecomm_runtime_dir_writable 0"),
           std::string("nodecomm_start_time_seconds 1700000000"),
           std::string("nodecomm_log_lines_lost_total{reason=\"not_written\"} 5"),
           std::string("nodecomm_sessions 3"),
           std::string("nodecomm_sessions_limit 1024"),
           std::string("nodecomm_groups{state=\"ready\"} 1"),
           std::string("nodecomm_groups{state=\"gathering\"} 1"),
           std::string("nodecomm_groups{state=\"aborted\"} 0"),
           std::string("nodecomm_groups_without_files 1"),
           std::string("nodecomm_xid_watch_active 0"),
           absl::StrCat("nodecomm_gpu_condition", of_gpu, ",condition=\"lost\"} 1"),
           absl::StrCat("nodecomm_gpu_condition", of_gpu, ",condition=\"ok\"} 0"),
           absl::StrCat("nodecomm_gpu_fabric_state", of_gpu, ",state=\"completed\"} 1"),
           absl::StrCat("nodecomm_gpu_nvlink_errors_total", of_gpu, "} 17"),
           absl::StrCat("nodecomm_pool_bytes", of_gpu, ",state=\"in_use\"} 1073741824"),
           absl::StrCat("nodecomm_pool_refill_failing", of_gpu, "} 1"),
           absl::StrCat("nodecomm_peer_access", pair, ",verdict=\"failed\"} 1"),
           absl::StrCat("nodecomm_peer_access", pair, ",verdict=\"proven\"} 0"),
           absl::StrCat("nodecomm_peer_write_bytes_per_second", pair, "} 250000000000"),
           absl::StrCat("nodecomm_link_nvlinks", pair, "} 18"),
       }) {
    EXPECT_THAT(series, Contains(line));
  }
  // The other way was never tried.
  EXPECT_THAT(series,
              Contains(absl::StrCat("nodecomm_peer_access{from_gpu_uuid=\"", proof->to_uuid(),
                                    "\",to_gpu_uuid=\"", gpu, "\",verdict=\"unproven\"} 1")));
}

// The alert must know the pairs that status and doctor name: on NVLink also those never proven.
TEST(Metrics, PeerAccessIsLostAsStatusSaysIt) {
  MetricsSnapshot now = EightGpus();
  v1::Link* const link = now.host.mutable_links(0);
  ASSERT_EQ(link->kind(), v1::LINK_KIND_NVSWITCH);
  const std::string name =
      absl::StrCat("nodecomm_peer_access_lost{from_gpu_uuid=\"", link->from_uuid(),
                   "\",to_gpu_uuid=\"", link->to_uuid(), "\"} ");
  EXPECT_THAT(SeriesOf(*Metrics::Create(), now), Contains(name + "0"));
  link->set_peer_access(v1::PEER_ACCESS_NOT_SUPPORTED);
  EXPECT_THAT(SeriesOf(*Metrics::Create(), now), Contains(name + "1"));
  link->set_kind(v1::LINK_KIND_PCI);
  EXPECT_THAT(SeriesOf(*Metrics::Create(), now), Contains(name + "0"))
      << "it may never have had it";
  v1::PeerProof* const proof = now.proofs.add_proofs();
  proof->set_from_uuid(link->from_uuid());
  proof->set_to_uuid(link->to_uuid());
  proof->set_verdict(v1::PROOF_VERDICT_PROVEN);
  EXPECT_THAT(SeriesOf(*Metrics::Create(), now), Contains(name + "1"));
}

TEST(Metrics, EveryFamilyHasHelpAndTypeAndOurPrefix) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  metrics->Take(XidSeen{.gpu_uuid = "GPU-a", .code = 31});
  metrics->Take(CallEnded{.service = "s", .method = "m", .duration = absl::Seconds(1)});
  std::set<std::string> families;
  for (const std::string& line : LinesOf(metrics->Expose(EightGpus()))) {
    if (!absl::StartsWith(line, "# TYPE ")) continue;
    const std::string name = line.substr(7, line.find(' ', 7) - 7);
    EXPECT_THAT(name, testing::StartsWith("nodecomm_"));
    EXPECT_TRUE(families.insert(name).second) << name << " twice";
  }
  EXPECT_GE(families.size(), 25u);
}

TEST(Metrics, NumberOfSeriesIsBoundedWhateverHappens) {
  const std::unique_ptr<Metrics> metrics = Metrics::Create();
  const MetricsSnapshot now = EightGpus();
  // What users choose (names, reasons, uids, pids) and codes that no driver reports are no labels.
  for (int i = 0; i < 5000; ++i) {
    metrics->Take(XidSeen{.gpu_uuid = FirstGpu(now), .code = i});
    metrics->Take(GroupNews{.what = GroupNews::What::kEnded,
                            .generation = static_cast<uint64_t>(i),
                            .name = absl::StrCat("group", i),
                            .uid = static_cast<uid_t>(i),
                            .reason = absl::StrCat("because ", i)});
    metrics->Take(Refusal{.uid = static_cast<uid_t>(i), .reason = absl::StrCat(i)});
  }
  const std::vector<std::string> series = SeriesOf(*metrics, now);
  const auto xids = std::count_if(series.begin(), series.end(), [](const std::string& line) {
    return absl::StartsWith(line, "nodecomm_gpu_xid_errors_total");
  });
  EXPECT_EQ(xids, 257);
  EXPECT_THAT(series, Contains(HasSubstr("xid=\"other\"} 4744")));
  EXPECT_LT(series.size(), 1000u);
}

}  // namespace
}  // namespace nodecomm
