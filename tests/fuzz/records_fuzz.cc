// Fuzzes what the daemon reads of its own: the record of a group, a reply of the allocator, a line
// of the watcher. All three come from processes or files that something may have spoilt.

#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "client/base/quantities.h"
#include "client/base/steady_clock.h"
#include "daemon/group/group_record.h"
#include "daemon/memory/allocator_protocol.h"
#include "daemon/watch/watch_line.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"

namespace nodecomm {
namespace {

void ReadRecord(const std::string& bytes) {
  const absl::StatusOr<v1::GroupRecord> record = ParseGroupRecord(bytes);
  if (!record.ok()) return;
  Require(record->members_size() >= 1 && record->members_size() <= kWorldSizeMax,
          "a group of a size that there is");
}

void ReadReply(const std::string& bytes) {
  const int before = OpenFds();
  {
    std::array<int, 2> pair;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) return;
    const UniqueFd ours(pair[0]);
    const UniqueFd theirs(pair[1]);
    send(theirs.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    ReceiveAllocatorReply(ours.get(), SteadyNow() + absl::Milliseconds(1)).IgnoreError();
    send(theirs.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    ReceiveAllocatorRequest(ours.get(), SteadyNow() + absl::Milliseconds(1)).IgnoreError();
  }
  Require(OpenFds() == before, "every descriptor is closed");
}

void ReadLine(const std::string& line) {
  const std::optional<XidEvent> event = ParseXid(line);
  if (event.has_value()) {
    const std::optional<XidEvent> again = ParseXid(FormatXid(*event));
    Require(again.has_value() && again->code == event->code, "what is printed is read");
  }
}

}  // namespace
}  // namespace nodecomm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nodecomm::Input input(data, size);
  switch (input.Number(2)) {
    case 0:
      nodecomm::ReadRecord(input.Rest());
      break;
    case 1:
      nodecomm::ReadReply(input.Rest());
      break;
    default:
      nodecomm::ReadLine(input.Rest());
  }
  return 0;
}
