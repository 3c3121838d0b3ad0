// A worker's end of session.sock for tests: connects, says hello, receives frames, each wait
// bounded. Not the client library: it can misbehave.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/unique_fd.h"
#include "nodecomm/v1/session.pb.h"
#include "proto/framing.h"

namespace nodecomm {

// Longer than anything takes; a test that needs it all has failed.
inline constexpr absl::Duration kTestTimeout = absl::Seconds(20);

class TestWorker {
 public:
  explicit TestWorker(const std::string& socket_path);

  int fd() const { return socket_.get(); }
  absl::Status Send(FrameType type, uint64_t transfer_id = 0, const std::string& payload = "");
  absl::Status SendHello(int major, int minor);
  absl::Status Ack(uint64_t transfer_id) { return Send(FrameType::kTransferAck, transfer_id); }

  // The next frame; DeadlineExceeded if none comes, Unavailable if the daemon closed.
  absl::StatusOr<Frame> Receive(absl::Duration timeout = kTestTimeout);

  // Hello with the right version, and its answer.
  absl::StatusOr<v1::SessionWelcome> Open();
  // The next frame, which is a refusal.
  absl::StatusOr<v1::SessionRefusal> ReceiveRefusal();
  // Whether the daemon closes within the timeout; frames before that are dropped.
  bool IsClosed(absl::Duration timeout = kTestTimeout);

  void Close() { socket_.Reset(); }

 private:
  UniqueFd socket_;
};

// A connected socket of any type.
UniqueFd ConnectTo(const std::string& path, int type);

// Waits, bounded, until `condition` holds.
template <typename Condition>
bool Eventually(Condition condition) {
  const absl::Time deadline = absl::Now() + kTestTimeout;
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

}  // namespace nodecomm
