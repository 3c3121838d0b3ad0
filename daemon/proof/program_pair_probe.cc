#include "daemon/proof/program_pair_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"
#include "client/base/unique_fd.h"
#include "daemon/probe/memory_fds.h"
#include "daemon/process/child_process.h"
#include "daemon/proof/proofs_text.h"

namespace nodecomm {
namespace {

constexpr absl::Duration kCancelPollInterval = absl::Milliseconds(20);
constexpr absl::Duration kEndGrace = absl::Seconds(1);
constexpr size_t kAnswerBytesMax = 64 << 10;
constexpr size_t kReasonBytesMax = 1024;

std::string_view PlatformWord(v1::Platform platform) {
  return platform == v1::PLATFORM_SIMULATED ? "simulated" : "cuda";
}

// All that comes until the writer closes. DeadlineExceeded, Cancelled, or DataLoss for more than
// an answer can have.
absl::StatusOr<std::string> ReadAll(int fd, SteadyTime deadline,
                                    const absl::Notification& cancelled) {
  std::string text;
  while (true) {
    if (cancelled.HasBeenNotified()) return absl::CancelledError("the daemon is stopping");
    pollfd waited = {fd, POLLIN, 0};
    if (poll(&waited, 1, static_cast<int>(absl::ToInt64Milliseconds(kCancelPollInterval))) <= 0) {
      // Not before: the answer may be there, where this process was stopped meanwhile.
      if (SteadyNow() >= deadline) return absl::DeadlineExceededError("did not answer in time");
      continue;
    }
    std::array<char, 4096> chunk;
    const ssize_t got = read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, "could not be read from");
    if (got == 0) return text;
    text.append(chunk.data(), static_cast<size_t>(got));
    if (text.size() > kAnswerBytesMax) return absl::DataLossError("said too much");
  }
}

bool IsProofOf(const v1::PeerProof& proof, const std::string& from, const std::string& to) {
  return proof.from_uuid() == from && proof.to_uuid() == to &&
         (proof.verdict() == v1::PROOF_VERDICT_PROVEN ||
          proof.verdict() == v1::PROOF_VERDICT_FAILED ||
          proof.verdict() == v1::PROOF_VERDICT_UNPROVEN);
}

absl::StatusOr<std::vector<v1::PeerProof>> ParseAnswer(const std::string& text, const GpuPair& pair,
                                                       ByteCount bytes) {
  absl::StatusOr<v1::PeerProofs> answer = ParseProofs(text);
  if (!answer.ok() || answer->proofs_size() != 2 || !IsProofOf(answer->proofs(0), pair.a, pair.b) ||
      !IsProofOf(answer->proofs(1), pair.b, pair.a)) {
    return absl::DataLossError("answered something else than two proofs");
  }
  for (v1::PeerProof& proof : *answer->mutable_proofs()) {
    if (proof.verdict() == v1::PROOF_VERDICT_PROVEN && proof.bytes_checked() < bytes.value) {
      return absl::DataLossError(
          absl::StrFormat("checked %d bytes instead of %d", proof.bytes_checked(), bytes.value));
    }
    if (proof.reason().size() > kReasonBytesMax) proof.mutable_reason()->resize(kReasonBytesMax);
  }
  return std::vector<v1::PeerProof>(answer->proofs().begin(), answer->proofs().end());
}

}  // namespace

absl::Status ProgramPairProbe::CanTry() const {
  if (access(options_.program.c_str(), X_OK) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno,
                             absl::StrFormat("the probe %s cannot be run", options_.program));
}

absl::StatusOr<std::vector<v1::PeerProof>> ProgramPairProbe::Prove(
    const GpuPair& pair, const absl::Notification& cancelled) {
  absl::StatusOr<std::vector<v1::PeerProof>> proofs = Run(pair, cancelled);
  if (proofs.ok() || absl::IsResourceExhausted(proofs.status())) return proofs;
  return Unproven(pair, std::string(proofs.status().message()));
}

absl::StatusOr<std::vector<v1::PeerProof>> ProgramPairProbe::Run(
    const GpuPair& pair, const absl::Notification& cancelled) {
  const absl::Status stopped = absl::CancelledError("proving was stopped");
  if (cancelled.HasBeenNotified()) return stopped;
  ABSL_ASSIGN_OR_RETURN(const Plane plane_a, source_->Create(pair.a, options_.bytes));
  if (cancelled.HasBeenNotified()) return stopped;
  ABSL_ASSIGN_OR_RETURN(const Plane plane_b, source_->Create(pair.b, options_.bytes));
  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe for the probe");
  const UniqueFd answer_end(ends[0]);
  UniqueFd program_end(ends[1]);
  const SteadyTime deadline = SteadyNow() + options_.timeout + kAnswerGrace;
  ABSL_ASSIGN_OR_RETURN(
      const std::unique_ptr<ChildProcess> program,
      ChildProcess::Start(
          {.program = options_.program,
           .arguments = {"--platform", std::string(PlatformWord(options_.platform)), "--a", pair.a,
                         "--b", pair.b, "--bytes", absl::StrCat(plane_a.bytes.value),
                         "--timeout-ms", absl::StrCat(absl::ToInt64Milliseconds(options_.timeout))},
           .fds = {{.number = STDOUT_FILENO, .fd = program_end.get()},
                   {.number = kProbeMemoryFdA, .fd = plane_a.fd.get()},
                   {.number = kProbeMemoryFdB, .fd = plane_b.fd.get()}}}));
  program_end.Reset();  // the program's death then shows as the end of what it says
  const absl::StatusOr<std::string> text = ReadAll(answer_end.get(), deadline, cancelled);
  const std::string ending = program->End(text.ok() ? kEndGrace : absl::ZeroDuration());
  if (text.ok() && !program->exited_with(0)) {
    return absl::UnavailableError(absl::StrFormat("the probe (%s) %s", options_.program, ending));
  }
  absl::StatusOr<std::vector<v1::PeerProof>> proofs =
      text.ok() ? ParseAnswer(*text, pair, options_.bytes)
                : absl::StatusOr<std::vector<v1::PeerProof>>(text.status());
  if (proofs.ok()) return proofs;
  return absl::Status(proofs.status().code(), absl::StrFormat("the probe (%s) %s", options_.program,
                                                              proofs.status().message()));
}

}  // namespace nodecomm
