// Collects what the doctor finds, a check at a time.
// Not a finding's words: those are with the checks. Design note: client/cli/README.md.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nodecomm/v1/report.pb.h"

namespace nodecomm {

class Report {
 public:
  void Start(std::string check) { check_ = std::move(check); }
  void Ok(std::string finding) { Add(v1::DOCTOR_VERDICT_OK, std::move(finding), ""); }
  void Warn(std::string finding, std::string advice) {
    Add(v1::DOCTOR_VERDICT_WARNING, std::move(finding), std::move(advice));
    report_.set_warnings(report_.warnings() + 1);
  }
  void Problem(std::string finding, std::string advice) {
    Add(v1::DOCTOR_VERDICT_PROBLEM, std::move(finding), std::move(advice));
    report_.set_problems(report_.problems() + 1);
  }
  // Of what several (GPUs, pairs of them, files) have in common one finding names all: "A, B:
  // lost".
  void WarnOf(const std::string& subject, const std::string& what, const std::string& advice) {
    if (!Join(v1::DOCTOR_VERDICT_WARNING, subject, what, advice)) {
      Warn(absl::StrCat(subject, ": ", what), advice);
      shared_.push_back({report_.findings_size() - 1, what});
    }
  }
  void ProblemOf(const std::string& subject, const std::string& what, const std::string& advice) {
    if (!Join(v1::DOCTOR_VERDICT_PROBLEM, subject, what, advice)) {
      Problem(absl::StrCat(subject, ": ", what), advice);
      shared_.push_back({report_.findings_size() - 1, what});
    }
  }
  void Skip(std::string finding) { Add(v1::DOCTOR_VERDICT_SKIPPED, std::move(finding), ""); }
  // Nothing was said since Start.
  bool silent() const {
    return report_.findings().empty() || report_.findings().rbegin()->check() != check_;
  }
  v1::DoctorReport Take() { return std::move(report_); }

 private:
  struct Shared {
    int finding;
    std::string what;
  };

  // False: no finding says that of anybody yet.
  bool Join(v1::DoctorVerdict verdict, const std::string& subject, const std::string& what,
            const std::string& advice) {
    for (const Shared& shared : shared_) {
      v1::DoctorFinding& finding = *report_.mutable_findings(shared.finding);
      if (shared.what != what || finding.check() != check_ || finding.verdict() != verdict ||
          finding.advice() != advice) {
        continue;
      }
      finding.mutable_finding()->insert(finding.finding().size() - what.size() - 2,
                                        absl::StrCat(", ", subject));
      return true;
    }
    return false;
  }
  void Add(v1::DoctorVerdict verdict, std::string finding, std::string advice) {
    v1::DoctorFinding* added = report_.add_findings();
    added->set_check(check_);
    added->set_verdict(verdict);
    added->set_finding(std::move(finding));
    added->set_advice(std::move(advice));
  }

  std::string check_;
  v1::DoctorReport report_;
  std::vector<Shared> shared_;
};

}  // namespace nodecomm
