#include "client/base/grpc_room.h"

#include <sys/resource.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_format.h"
#include "client/base/spare_threads.h"
#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

// A process that could open nine files in all was ended by gRPC, one with fourteen was not.
constexpr rlim_t kDescriptorsOfFirstCalls = 16;

// Beside those for events gRPC 1.51 makes five. A worker made 7 with one or two processors, 13 with
// 8, 21 with 16 and 37 with 64; where one of them failed, it hung when it left. Three to spare:
// gRPC makes more when it is busy.
constexpr int kOtherThreads = 5 + 3;

absl::Status CheckThreads() {
  const int wanted = EventThreadsOfGrpc(ProcessorsOfGrpc()) + kOtherThreads;
  const SpareThreads spare = CountSpareThreads(wanted);
  if (spare.next.ok()) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "this process may have %d more threads, of %d that its calls to the daemon take (%s): raise "
      "by %d at least its user's limit on processes (ulimit -u) or pids.max of its cgroup, or its "
      "limit on address space (ulimit -v)",
      spare.count, wanted, spare.next.message(), wanted - spare.count));
}

}  // namespace

absl::Status CheckDescriptorsForGrpc() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::OkStatus();
  std::error_code error;
  rlim_t taken = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error)) {
    ++taken;
  }
  const bool none_is_left = error.value() == EMFILE;
  if (error && !none_is_left) return absl::OkStatus();  // not told
  if (!error && taken + kDescriptorsOfFirstCalls <= limit.rlim_cur) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "this process may open too few files for its calls to the daemon, which take up to %d: it "
      "has %d open, of at most %d; close some, or raise its limit (ulimit -n)",
      // Less the one that read the directory.
      kDescriptorsOfFirstCalls, none_is_left ? limit.rlim_cur : taken - 1, limit.rlim_cur));
}

absl::Status CheckRoomForGrpc() {
  ABSL_RETURN_IF_ERROR(CheckDescriptorsForGrpc());
  return CheckThreads();
}

}  // namespace nodecomm
