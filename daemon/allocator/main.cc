// nodecomm-allocator: makes GPU memory for nodecommd and hands it over as file descriptors.
// Not started by people: nodecommd starts it with a socket as standard input, and it ends when that
// closes. Design note: daemon/memory/README.md, "the allocator".

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "daemon/allocator/cuda_driver.h"
#include "daemon/memory/allocator_protocol.h"

namespace nodecomm {
namespace {

bool IsPairOfDaemon(int fd) {
  int type = 0;
  socklen_t length = sizeof(type);
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET;
}

// GPUs are named by UUID. The arguments, if there are any, are the only ones to see: the driver's
// library opens the device files of no others.
void LimitSight(int argc, char** argv) {
  std::string visible;
  for (int i = 1; i < argc; ++i) visible += std::string(i > 1 ? "," : "") + argv[i];
  if (visible.empty()) {
    unsetenv("CUDA_VISIBLE_DEVICES");
  } else {
    setenv("CUDA_VISIBLE_DEVICES", visible.c_str(), 1);
  }
}

AllocatorReply MakeReply(uint64_t id, absl::StatusOr<Plane> plane) {
  AllocatorReply reply;
  reply.id = id;
  reply.status = plane.status();
  if (plane.ok()) {
    reply.bytes = plane->bytes;
    reply.fd = std::move(plane->fd);
  }
  return reply;
}

// Serves until the daemon closes the socket.
int Serve(int socket) {
  // Loaded by the first request, whose answer can then say what is wrong.
  absl::StatusOr<std::unique_ptr<CudaDriver>> driver = absl::UnknownError("not loaded");
  while (true) {
    absl::StatusOr<AllocatorRequest> request =
        ReceiveAllocatorRequest(socket, SteadyTime::InfiniteFuture());
    if (absl::IsUnavailable(request.status())) return EXIT_SUCCESS;
    if (!request.ok()) {
      fprintf(stderr, "nodecomm-allocator: %s\n", request.status().ToString().c_str());
      return EXIT_FAILURE;
    }
    if (!driver.ok()) driver = CudaDriver::Load();
    const AllocatorReply reply = MakeReply(
        request->id, driver.ok() ? (*driver)->CreatePlane(request->gpu_uuid, request->bytes)
                                 : absl::StatusOr<Plane>(driver.status()));
    if (!SendAllocatorReply(socket, reply).ok()) return EXIT_FAILURE;
    // A driver that failed to start in this process stays failed; the daemon starts a fresh one for
    // the next request.
    if (!driver.ok()) return EXIT_FAILURE;
  }
}

}  // namespace
}  // namespace nodecomm

int main(int argc, char** argv) {
  if (!nodecomm::IsPairOfDaemon(nodecomm::kAllocatorSocket)) {
    fprintf(stderr, "nodecomm-allocator is started by nodecommd, not by hand.\n");
    return 2;
  }
  // The daemon decides when it ends, by closing the socket: not the terminal, nor a service manager
  // that signals everybody.
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  // What the daemon may hold open is none of ours.
  close_range(STDERR_FILENO + 1, ~0U, 0);
  nodecomm::LimitSight(argc, argv);
  return nodecomm::Serve(nodecomm::kAllocatorSocket);
}
