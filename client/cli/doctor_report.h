// Collects what the doctor finds, a check at a time.
// Not a finding's words: those are with the checks. Design note: client/cli/README.md.
#pragma once

#include <string>
#include <utility>

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
  void Skip(std::string finding) { Add(v1::DOCTOR_VERDICT_SKIPPED, std::move(finding), ""); }
  // Nothing was said since Start.
  bool silent() const {
    return report_.findings().empty() || report_.findings().rbegin()->check() != check_;
  }
  v1::DoctorReport Take() { return std::move(report_); }

 private:
  void Add(v1::DoctorVerdict verdict, std::string finding, std::string advice) {
    v1::DoctorFinding* added = report_.add_findings();
    added->set_check(check_);
    added->set_verdict(verdict);
    added->set_finding(std::move(finding));
    added->set_advice(std::move(advice));
  }

  std::string check_;
  v1::DoctorReport report_;
};

}  // namespace nodecomm
