#include "client/session/control_client.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "client/base/grpc_room.h"
#include "nodecomm/v1/control.grpc.pb.h"

namespace nodecomm {
namespace {

constexpr char kSocketName[] = "control.sock";
constexpr char kTokenKey[] = "nodecomm-session-token";
constexpr char kAnsweredKey[] = "nodecomm-answered";  // in the daemon's own answers

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& path) {
  grpc::ChannelArguments arguments;
  // A connection of our own, not one that the process's other gRPC users share; and no retry: a
  // call such as a join must not be made twice.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // A daemon that is being restarted is back soon.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // No pause, whatever its name: how long a connection may take to be answered. One that the daemon
  // does not accept for a moment is not to fail the call.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  return grpc::CreateCustomChannel("unix:" + path, grpc::InsecureChannelCredentials(), arguments);
}

std::atomic<bool> grpc_is_kept = false;

// gRPC's threads stay to the end of the process, held by a channel that is never used and so never
// connects. With its last channel gRPC takes them down, and waits for ever for one that it could
// not make, since others of the user or the cgroup took it after it had been looked for:
// nodecomm_comm_destroy would not return.
void KeepGrpc(const std::string& path) {
  static auto& kept = *new std::shared_ptr<grpc::Channel>(MakeChannel(path));
  grpc_is_kept = kept != nullptr;
}

// Whether the daemon said so itself, rather than gRPC, which has the same codes for what happens to
// a connection. A daemon of an earlier version does not mark its answers.
bool IsFromDaemon(const grpc::ClientContext& context) {
  return context.GetServerTrailingMetadata().contains(kAnsweredKey);
}

// The codes of the two are the same numbers.
absl::Status ToStatus(const grpc::Status& status, const grpc::ClientContext& context,
                      const std::string& path) {
  if (status.ok()) return absl::OkStatus();
  auto code = static_cast<absl::StatusCode>(status.error_code());
  // gRPC's words for a connection that ends just as a call begins, and for a call that a daemon
  // ends with itself: nobody here cancels any.
  const bool is_lost = code == absl::StatusCode::kUnknown || code == absl::StatusCode::kCancelled;
  if (is_lost && !IsFromDaemon(context)) code = absl::StatusCode::kUnavailable;
  switch (code) {
    case absl::StatusCode::kUnavailable:
      if (IsFromDaemon(context)) return absl::UnavailableError(status.error_message());
      return absl::UnavailableError(
          absl::StrFormat("nodecommd at %s has gone or does not take calls (systemctl status "
                          "nodecommd; its log names a limit that was reached): %s",
                          path, status.error_message()));
    case absl::StatusCode::kDeadlineExceeded:
      if (IsFromDaemon(context)) return absl::DeadlineExceededError(status.error_message());
      return absl::DeadlineExceededError(absl::StrFormat(
          "nodecommd at %s did not answer in time: it hangs, or is stopped; see its "
          "log, and nodecommctl doctor on the host (%s)",
          path, status.error_message()));
    case absl::StatusCode::kUnauthenticated:
      return absl::UnavailableError(absl::StrFormat(
          "nodecommd at %s does not know this process any more (was it restarted?): %s", path,
          status.error_message()));
    default:
      return absl::Status(code, status.error_message());
  }
}

}  // namespace

struct ControlClient::Channel {
  std::string path;
  std::string token;  // hexadecimal
  absl::Mutex mutex;
  // Shared with the calls under way.
  std::shared_ptr<v1::Control::StubInterface> stub ABSL_GUARDED_BY(mutex);

  void Connect() {
    std::shared_ptr<v1::Control::StubInterface> fresh = v1::Control::NewStub(MakeChannel(path));
    const absl::MutexLock lock(&mutex);
    fresh.swap(stub);
  }

  std::shared_ptr<v1::Control::StubInterface> Stub() {
    const absl::MutexLock lock(&mutex);
    return stub;
  }

  template <typename Request, typename Response>
  using Method = grpc::Status (v1::Control::StubInterface::*)(grpc::ClientContext*, const Request&,
                                                              Response*);

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(Method<Request, Response> method, const Request& request,
                                absl::Duration timeout) {
    grpc::ClientContext context;
    // gRPC turns it into a time of the steady clock at once.
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
    context.set_wait_for_ready(false);
    context.AddMetadata(kTokenKey, token);
    Response response;
    const grpc::Status answered = (Stub().get()->*method)(&context, request, &response);
    const absl::Status status = ToStatus(answered, context, path);
    if (!status.ok()) return status;
    return response;
  }
};

ControlClient::ControlClient(const std::string& runtime_dir, const std::string& token)
    : channel_(std::make_unique<Channel>()) {
  channel_->path = runtime_dir + "/" + kSocketName;
  channel_->token = absl::BytesToHexString(token);
  KeepGrpc(channel_->path);
  channel_->Connect();
}

absl::Status ControlClient::CheckRoom() {
  return grpc_is_kept ? CheckDescriptorsForGrpc() : CheckRoomForGrpc();
}

void ControlClient::Reconnect() { channel_->Connect(); }

ControlClient::~ControlClient() = default;

absl::StatusOr<v1::GetHostResponse> ControlClient::GetHost(absl::Duration timeout) {
  return channel_->Call(&v1::Control::StubInterface::GetHost, v1::GetHostRequest(), timeout);
}

absl::StatusOr<v1::JoinGroupResponse> ControlClient::JoinGroup(const v1::JoinGroupRequest& request,
                                                               absl::Duration timeout) {
  return channel_->Call(&v1::Control::StubInterface::JoinGroup, request, timeout);
}

absl::Status ControlClient::ConfirmGroup(const v1::ConfirmGroupRequest& request,
                                         absl::Duration timeout) {
  return channel_->Call(&v1::Control::StubInterface::ConfirmGroup, request, timeout).status();
}

absl::Status ControlClient::LeaveGroup(const v1::LeaveGroupRequest& request,
                                       absl::Duration timeout) {
  return channel_->Call(&v1::Control::StubInterface::LeaveGroup, request, timeout).status();
}

absl::Status ControlClient::AbortGroup(const v1::AbortGroupRequest& request,
                                       absl::Duration timeout) {
  return channel_->Call(&v1::Control::StubInterface::AbortGroup, request, timeout).status();
}

absl::StatusOr<v1::AllocateSharedResponse> ControlClient::AllocateShared(
    const v1::AllocateSharedRequest& request, absl::Duration timeout) {
  return channel_->Call(&v1::Control::StubInterface::AllocateShared, request, timeout);
}

absl::Status ControlClient::FreeShared(const v1::FreeSharedRequest& request,
                                       absl::Duration timeout) {
  return channel_->Call(&v1::Control::StubInterface::FreeShared, request, timeout).status();
}

}  // namespace nodecomm
