#include "daemon/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace nodecomm {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;

// From a call that only looks something up to a join that waits for a model to load.
const Histogram::BucketBoundaries kCallSeconds = {0.0005, 0.001, 0.005, 0.01, 0.05, 0.1,
                                                  0.5,    1,     5,     10,   60,   300};
const Histogram::BucketBoundaries kRendezvousSeconds = {0.01, 0.05, 0.1, 0.5, 1,  2,
                                                        5,    10,   30,  60,  300};

// NVIDIA's codes are below 200; the bound keeps the number of series known.
constexpr int kXidMax = 255;

std::string CodeWord(absl::StatusCode code) {
  const std::string word = absl::StatusCodeToString(code);
  return word.empty() ? "UNKNOWN" : word;
}

// Whether groups can end so, that far. A series for what can't be would only raise questions.
bool CanEnd(GroupPhase phase, GroupEnd end) {
  switch (end) {
    case GroupEnd::kLeft:
      return phase == GroupPhase::kReady;
    case GroupEnd::kDisagreement:
    case GroupEnd::kNoMemory:
      return phase == GroupPhase::kForming;
    case GroupEnd::kDeadline:
      return phase != GroupPhase::kReady;
    case GroupEnd::kPageCut:
      return phase != GroupPhase::kForming;
    case GroupEnd::kMemberLeft:
    case GroupEnd::kDaemonRestarted:
      return phase == GroupPhase::kMapping;
    case GroupEnd::kMemberAborted:
    case GroupEnd::kMemberEnded:
    case GroupEnd::kGpuLost:
    case GroupEnd::kDrained:
    case GroupEnd::kAdministrator:
    case GroupEnd::kDaemonStopping:
      return true;
  }
  return false;
}

prometheus::MetricFamily ToPrometheus(StateFamily family) {
  const bool counts = family.type == StateFamily::Type::kCounter;
  prometheus::MetricFamily converted;
  converted.name = std::move(family.name);
  converted.help = std::move(family.help);
  converted.type = counts ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
  for (Sample& sample : family.samples) {
    prometheus::ClientMetric metric;
    for (auto& [name, value] : sample.labels) {
      metric.label.push_back({std::move(name), std::move(value)});
    }
    (counts ? metric.counter.value : metric.gauge.value) = sample.value;
    converted.metric.push_back(std::move(metric));
  }
  return converted;
}

class PrometheusMetrics final : public Metrics {
 public:
  PrometheusMetrics() {
    // What never happened reads 0 rather than nothing, or its first time could not be seen.
    for (const SessionEnd end : kSessionEnds) session_ends_.Add({{"reason", Word(end)}});
    for (const AuthFailure failure : kAuthFailures) auth_failures_.Add({{"reason", Word(failure)}});
    for (const RefusalCause cause :
         {RefusalCause::kRate, RefusalCause::kLimit, RefusalCause::kUnknownUser,
          RefusalCause::kVersion, RefusalCause::kUnknownSession, RefusalCause::kNoRecord,
          RefusalCause::kFailure}) {
      CountOf(Door::kSession, cause);
    }
    for (const RefusalCause cause : {RefusalCause::kRate, RefusalCause::kLimit}) {
      CountOf(Door::kControl, cause);
    }
    for (const RefusalCause cause : {RefusalCause::kNotAdministrator, RefusalCause::kLimit}) {
      CountOf(Door::kAdmin, cause);
    }
    for (const GroupEnd end : kGroupEnds) {
      for (const GroupPhase phase :
           {GroupPhase::kForming, GroupPhase::kMapping, GroupPhase::kReady}) {
        if (CanEnd(phase, end)) CountOf(phase, end);
      }
    }
  }

  void Take(const MetricsEvent& event) override { std::visit(*this, event); }

  std::string Expose(const MetricsSnapshot& now) const override {
    std::vector<prometheus::MetricFamily> families = registry_.Collect();
    for (StateFamily& family : DescribeState(now)) {
      // A family without samples would be a name with help and nothing else.
      if (!family.samples.empty()) families.push_back(ToPrometheus(std::move(family)));
    }
    const prometheus::TextSerializer text;
    return static_cast<const prometheus::Serializer&>(text).Serialize(families);
  }

  // --- events

  void operator()(const SessionOpened&) { sessions_opened_.Increment(); }
  void operator()(const SessionEnded& event) {
    session_ends_.Add({{"reason", Word(event.end)}}).Increment();
  }
  void operator()(const Refusal& event) { CountOf(event.door, event.cause).Increment(); }
  void operator()(const AuthFailure& event) {
    auth_failures_.Add({{"reason", Word(event)}}).Increment();
  }
  void operator()(const GroupNews& event) {
    if (event.what == GroupNews::What::kReady) {
      rendezvous_ready_.Observe(absl::ToDoubleSeconds(event.age));
      return;
    }
    if (event.phase != GroupPhase::kReady) {
      rendezvous_failed_.Observe(absl::ToDoubleSeconds(event.age));
    }
    CountOf(event.phase, event.end).Increment();
  }
  void operator()(const CallEnded& event) {
    calls_
        .Add({{"service", event.service}, {"method", event.method}, {"code", CodeWord(event.code)}})
        .Increment();
    if (!event.duration.has_value()) return;
    call_seconds_.Add({{"service", event.service}, {"method", event.method}}, kCallSeconds)
        .Observe(absl::ToDoubleSeconds(*event.duration));
  }
  void operator()(const XidSeen& event) {
    const bool known = event.code >= 0 && event.code <= kXidMax;
    xids_.Add({{"gpu_uuid", event.gpu_uuid}, {"xid", known ? absl::StrCat(event.code) : "other"}})
        .Increment();
  }

 private:
  static std::string Word(auto value) { return std::string(nodecomm::Word(value)); }

  Family<Counter>& AddCounter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry_);
  }
  Family<Histogram>& AddHistogram(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_);
  }
  Counter& CountOf(Door door, RefusalCause cause) {
    return refusals_.Add({{"socket", Word(door)}, {"reason", Word(cause)}});
  }
  Counter& CountOf(GroupPhase phase, GroupEnd end) {
    return group_ends_.Add({{"phase", Word(phase)}, {"reason", Word(end)}});
  }

  prometheus::Registry registry_;
  // Families give the same metric for the same labels again.
  Counter& sessions_opened_ =
      AddCounter("nodecomm_sessions_opened_total", "Sessions that workers have opened.").Add({});
  Family<Counter>& session_ends_ =
      AddCounter("nodecomm_session_terminations_total", "Sessions that ended, by reason.");
  Family<Counter>& refusals_ = AddCounter("nodecomm_connections_refused_total",
                                          "Connections that were not taken, by socket and reason.");
  Family<Counter>& auth_failures_ =
      AddCounter("nodecomm_auth_failures_total",
                 "Calls on control.sock that did not prove whose they are, by reason.");
  Family<Histogram>& rendezvous_ =
      AddHistogram("nodecomm_rendezvous_duration_seconds",
                   "Time from a group's first join until it was ready or had failed.");
  Histogram& rendezvous_ready_ = rendezvous_.Add({{"outcome", "ready"}}, kRendezvousSeconds);
  Histogram& rendezvous_failed_ = rendezvous_.Add({{"outcome", "failed"}}, kRendezvousSeconds);
  Family<Counter>& group_ends_ =
      AddCounter("nodecomm_group_terminations_total",
                 "Groups that ended, by how far they had come and by reason.");
  Family<Counter>& calls_ =
      AddCounter("nodecomm_rpcs_total", "Calls that were answered, by gRPC's code.");
  Family<Histogram>& call_seconds_ = AddHistogram(
      "nodecomm_rpc_duration_seconds",
      "Time that calls took. Joins, confirmations and shared buffers wait for other ranks.");
  Family<Counter>& xids_ =
      AddCounter("nodecomm_gpu_xid_errors_total",
                 "Critical errors of a GPU as the driver reported them, by NVIDIA's code.");
};

}  // namespace

std::unique_ptr<Metrics> Metrics::Create() { return std::make_unique<PrometheusMetrics>(); }

}  // namespace nodecomm
