// The only file of nodecommctl that knows of gRPC and sockets.
// Not a session: no token, no file descriptors.
// Design note: client/cli/README.md.
#include "client/cli/admin_client.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel_posix.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/grpc_room.h"
#include "client/base/status_macros.h"
#include "client/base/unique_fd.h"
#include "client/cli/lock_holder.h"
#include "nodecomm/v1/admin.grpc.pb.h"
#include "proto/refusal_line.h"

namespace nodecomm {
namespace {

// Connected here and not by gRPC, which would retry, and would hide the error's number in a text.
absl::StatusOr<UniqueFd> ConnectSocket(const std::string& runtime_dir, const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() > kSocketPathBytesMax) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the runtime directory %s has %d bytes, of at most %d: a socket's path "
        "(here %s) has at most %d",
        runtime_dir, runtime_dir.size(), kRuntimeDirBytesMax, path, kSocketPathBytesMax));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, "creating a socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const int error_number = errno;
    return DescribeConnectError(runtime_dir, path, error_number, FindLockHolder(runtime_dir));
  }
  return fd;
}

// How long a daemon may take to say that it refuses. One that serves speaks as soon, in gRPC's way.
constexpr absl::Duration kRefusalTimeout = absl::Seconds(1);

// Why the daemon takes no connection at this moment; empty: it takes one, or does not say. Asked
// for with a connection of its own: gRPC keeps to itself what it reads before it gives one up.
std::string ReadRefusal(const std::string& runtime_dir, const std::string& path) {
  const absl::StatusOr<UniqueFd> fd = ConnectSocket(runtime_dir, path);
  if (!fd.ok()) return "";
  pollfd readable = {.fd = fd->get(), .events = POLLIN, .revents = 0};
  poll(&readable, 1, static_cast<int>(absl::ToInt64Milliseconds(kRefusalTimeout)));
  std::array<char, kRefusalLineBytesMax> text;
  const ssize_t got = recv(fd->get(), text.data(), text.size(), MSG_DONTWAIT);
  std::string_view line(text.data(), got > 0 ? static_cast<size_t>(got) : 0);
  if (!line.starts_with(kRefusalStart)) return "";
  line.remove_prefix(std::strlen(kRefusalStart));
  return std::string(line.substr(0, line.find('\n')));
}

// The first channel stays to the end of the program. With the last one gRPC takes its threads down,
// and waits for ever for one that could not be made, since others of the user or the cgroup took it
// after it had been looked for.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(UniqueFd fd) {
  static auto& first = *new std::shared_ptr<grpc::Channel>;
  if (first == nullptr) ABSL_RETURN_IF_ERROR(CheckRoomForGrpc());
  // The channel owns the descriptor from here on.
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateInsecureChannelFromFd("localhost", fd.Release());
  if (first == nullptr) first = channel;
  return channel;
}

// gRPC's own words for an answer that came and could not be read, which it takes for unimplemented.
constexpr char kUnreadableAnswer[] = "No message returned for unary request";

class GrpcAdminClient : public AdminClient {
 public:
  GrpcAdminClient(std::string runtime_dir, std::string socket_path, absl::Duration call_timeout,
                  const std::shared_ptr<grpc::Channel>& channel)
      : runtime_dir_(std::move(runtime_dir)),
        socket_path_(std::move(socket_path)),
        call_timeout_(call_timeout),
        stub_(v1::Admin::NewStub(channel)) {}

  absl::StatusOr<v1::GetStatusResponse> GetStatus() override {
    return Call<v1::GetStatusResponse>(&v1::Admin::Stub::GetStatus, v1::GetStatusRequest());
  }
  absl::StatusOr<v1::GetTopologyResponse> GetTopology() override {
    return Call<v1::GetTopologyResponse>(&v1::Admin::Stub::GetTopology, v1::GetTopologyRequest());
  }
  absl::StatusOr<v1::ListGroupsResponse> ListGroups() override {
    return Call<v1::ListGroupsResponse>(&v1::Admin::Stub::ListGroups, v1::ListGroupsRequest());
  }
  absl::StatusOr<v1::ListPoolsResponse> ListPools() override {
    return Call<v1::ListPoolsResponse>(&v1::Admin::Stub::ListPools, v1::ListPoolsRequest());
  }
  absl::StatusOr<v1::ListSessionsResponse> ListSessions() override {
    return Call<v1::ListSessionsResponse>(&v1::Admin::Stub::ListSessions,
                                          v1::ListSessionsRequest());
  }
  absl::StatusOr<v1::GetConfigResponse> GetConfig() override {
    return Call<v1::GetConfigResponse>(&v1::Admin::Stub::GetConfig, v1::GetConfigRequest());
  }
  absl::StatusOr<v1::CheckPeersResponse> CheckPeers(const v1::CheckPeersRequest& request) override {
    return Call<v1::CheckPeersResponse>(&v1::Admin::Stub::CheckPeers, request);
  }
  absl::StatusOr<v1::ExplainFastPathResponse> ExplainFastPath(
      const v1::ExplainFastPathRequest& request) override {
    return Call<v1::ExplainFastPathResponse>(&v1::Admin::Stub::ExplainFastPath, request);
  }
  absl::StatusOr<v1::AdminAbortGroupResponse> AbortGroup(
      const v1::AdminAbortGroupRequest& request) override {
    return Call<v1::AdminAbortGroupResponse>(&v1::Admin::Stub::AbortGroup, request);
  }
  absl::StatusOr<v1::DrainGpuResponse> DrainGpu(const v1::DrainGpuRequest& request) override {
    return Call<v1::DrainGpuResponse>(&v1::Admin::Stub::DrainGpu, request);
  }
  absl::StatusOr<v1::UndrainGpuResponse> UndrainGpu(const v1::UndrainGpuRequest& request) override {
    return Call<v1::UndrainGpuResponse>(&v1::Admin::Stub::UndrainGpu, request);
  }

 private:
  template <typename Response, typename Request>
  using Method = grpc::Status (v1::Admin::Stub::*)(grpc::ClientContext*, const Request&, Response*);

  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(Method<Response, Request> method, const Request& request) {
    grpc::ClientContext context;
    // gRPC turns it into a time of the steady clock at once.
    context.set_deadline(std::chrono::system_clock::now() +
                         absl::ToChronoMilliseconds(call_timeout_));
    Response response;
    const grpc::Status status = (stub_.get()->*method)(&context, request, &response);
    if (!status.ok()) return ToAbsl(status);
    return response;
  }

  absl::Status ToAbsl(const grpc::Status& status) const {
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      return absl::DeadlineExceededError(absl::StrFormat(
          "nodecommd at %s did not answer within %s; see nodecommctl doctor, and its log",
          socket_path_, absl::FormatDuration(call_timeout_)));
    }
    // Nobody here cancels: a daemon that stops does, while it answers. And UNKNOWN is what gRPC
    // says where the connection ends just as the call begins; the daemon never answers so.
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE ||
        status.error_code() == grpc::StatusCode::CANCELLED ||
        status.error_code() == grpc::StatusCode::UNKNOWN) {
      const std::string refusal = ReadRefusal(runtime_dir_, socket_path_);
      if (absl::StartsWith(refusal, kRefusesUser)) {
        return absl::PermissionDeniedError(absl::StrFormat(
            "nodecommd at %s refuses: %s; run this as root, or as the daemon's user", socket_path_,
            refusal));
      }
      if (!refusal.empty()) {
        return absl::ResourceExhaustedError(
            absl::StrFormat("nodecommd at %s takes no more connections of administrators: %s; end "
                            "programs that keep theirs open, and try again",
                            socket_path_, refusal));
      }
      return absl::UnavailableError(
          absl::StrFormat("nodecommd at %s closed the connection (%s); look at its log",
                          socket_path_, status.error_message()));
    }
    if (status.error_message() == kUnreadableAnswer) {
      return absl::InternalError(absl::StrFormat(
          "nodecommd at %s answered what cannot be read, such as a text that is not UTF-8 "
          "(libprotobuf's line above names the field): see what its command line, configuration "
          "and host have there",
          socket_path_));
    }
    if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
      return absl::UnimplementedError(
          absl::StrFormat("nodecommd at %s does not know this question: it is of an earlier "
                          "version than nodecommctl "
                          "(nodecommctl version)",
                          socket_path_));
    }
    // The codes of the two are the same by definition.
    return absl::Status(
        static_cast<absl::StatusCode>(status.error_code()),
        absl::StrFormat("nodecommd at %s: %s", socket_path_, status.error_message()));
  }

  const std::string runtime_dir_;
  const std::string socket_path_;
  const absl::Duration call_timeout_;
  const std::unique_ptr<v1::Admin::Stub> stub_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdminClient>> AdminClient::Connect(const std::string& runtime_dir,
                                                                  absl::Duration call_timeout) {
  std::string path = absl::StrCat(runtime_dir, std::string(kAdminSocketName));
  ABSL_ASSIGN_OR_RETURN(UniqueFd fd, ConnectSocket(runtime_dir, path));
  ABSL_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, MakeChannel(std::move(fd)));
  return std::make_unique<GrpcAdminClient>(runtime_dir, std::move(path), call_timeout, channel);
}

absl::Status DescribeConnectError(const std::string& runtime_dir, const std::string& socket_path,
                                  int error_number, std::optional<int> lock_holder) {
  const char* const cause = std::strerror(error_number);
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
    case ECONNREFUSED:
      if (lock_holder.has_value()) {
        return absl::UnavailableError(absl::StrFormat(
            "nodecommd (process %d) serves %s, but its socket %s does not answer: %s. Unless it is "
            "just starting or stopping, somebody removed the socket: restart the daemon.",
            *lock_holder, runtime_dir, socket_path, cause));
      }
      return absl::UnavailableError(absl::StrFormat(
          "no nodecommd at %s: %s. Start it with `nodecommd --runtime-dir %s`, or name the "
          "directory of the one that runs with --runtime-dir or NODECOMM_RUNTIME_DIR.",
          socket_path, cause, runtime_dir));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(
          absl::StrFormat("not allowed to ask nodecommd at %s: %s. Run nodecommctl as root, or as "
                          "a user who may enter that directory.",
                          socket_path, cause));
    case EAGAIN:
      return absl::UnavailableError(absl::StrFormat(
          "nodecommd at %s takes no connection (its queue is full); look at its log", socket_path));
    default:
      return absl::InvalidArgumentError(
          absl::StrFormat("cannot connect to %s: %s", socket_path, cause));
  }
}

}  // namespace nodecomm
