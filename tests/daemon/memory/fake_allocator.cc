// Stands in for nodecomm-allocator: answers with memfds, and misbehaves for GPUs whose names say
// how.

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/base/steady_clock.h"
#include "daemon/memory/allocator_protocol.h"

namespace nodecomm {
namespace {

AllocatorReply Answer(const AllocatorRequest& request) {
  AllocatorReply reply;
  reply.id = request.id;
  if (request.gpu_uuid == "GPU-pid") {
    reply.status = absl::InternalError(absl::StrCat(getpid()));
  } else if (request.gpu_uuid == "GPU-no-driver") {
    reply.status = absl::UnavailableError("no driver");
  } else if (request.gpu_uuid == "GPU-none") {
    reply.status = absl::NotFoundError("no GPU-none");
  } else if (request.bytes > ByteCount{(2_MiB).value << 10}) {
    reply.status = absl::ResourceExhaustedError("GPU-good is full");
  } else {
    reply.bytes = ByteCount{(request.bytes.value + (2_MiB).value - 1) & ~((2_MiB).value - 1)};
    reply.fd.Reset(memfd_create("fake", 0));
    if (ftruncate(reply.fd.get(), static_cast<off_t>(reply.bytes.value)) != 0) _exit(1);
    if (request.gpu_uuid == "GPU-other-question") reply.id += 1;
    if (request.gpu_uuid == "GPU-too-small") reply.bytes = ByteCount{1};
  }
  return reply;
}

void Misbehave(const std::string& gpu_uuid) {
  if (gpu_uuid == "GPU-crash") abort();
  if (gpu_uuid == "GPU-exit") _exit(3);
  while (gpu_uuid == "GPU-hang") pause();
  if (gpu_uuid == "GPU-garbage") send(kAllocatorSocket, "garbage", 7, MSG_NOSIGNAL);
}

}  // namespace
}  // namespace nodecomm

int main() {
  while (true) {
    auto request = nodecomm::ReceiveAllocatorRequest(nodecomm::kAllocatorSocket,
                                                     nodecomm::SteadyTime::InfiniteFuture());
    if (!request.ok()) return 0;
    nodecomm::Misbehave(request->gpu_uuid);
    const nodecomm::AllocatorReply reply = nodecomm::Answer(*request);
    if (!nodecomm::SendAllocatorReply(nodecomm::kAllocatorSocket, reply).ok()) return 1;
  }
}
