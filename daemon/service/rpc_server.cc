#include "daemon/service/rpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_posix.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "client/base/status_macros.h"
#include "daemon/process/background.h"
#include "daemon/service/user_servers.h"
#include "daemon/service/waiting_calls.h"
#include "daemon/session/rate_limit.h"
#include "grpc/health/v1/health.pb.h"
#include "nodecomm/v1/admin.grpc.pb.h"
#include "nodecomm/v1/control.grpc.pb.h"

namespace nodecomm {
namespace {

// Requests are a few hundred bytes.
constexpr int kRequestBytesMax = 64 << 10;

// Calls of one connection at a time; a process with many communicators waits in as many joins.
constexpr int kCallsPerConnectionMax = 256;
// Of one connection before others have their turn, and before it is seen what was in them. gRPC
// would read as much as has come: thousands of calls.
constexpr int kBytesReadAtOnceMax = 8 << 10;

// What gRPC may hold for requests that are under way, of each server. Beyond that it reads less,
// and then gives up calls and connections of that server, whosever they are: so users have one
// each.
constexpr size_t kRequestsInMemoryBytesMax = 16 << 20;

// gRPC sends the message as a header, and a header over 8 KiB would lose the whole answer.
constexpr size_t kErrorMessageBytesMax = 2048;

// Of a server, for the reflection service: gRPC gives each of its streams a thread for as long as
// the client likes. All other calls are served on gRPC's own few threads.
constexpr int kStreamThreadsMax = 8;

// Of each user on control.sock at a time, as long as the client likes: of those threads, and of
// streams that wait for news, which hold memory.
constexpr int kReflectionStreamsPerUidMax = 2;
constexpr int kWatchStreamsPerUidMax = 64;

constexpr char kControlService[] = "nodecomm.v1.Control";
constexpr char kAdminService[] = "nodecomm.v1.Admin";
// As methods are called.
constexpr std::string_view kControlPrefix = "/nodecomm.v1.Control/";
constexpr std::string_view kReflectionPrefix = "/grpc.reflection.";

constexpr absl::Duration kShutdownAtDestruction = absl::Seconds(1);

// Calls that a user may make at once after a pause, in seconds' worth.
constexpr int kCallsBurst = 5;

// Of its calls a second, those that a user may reset; a second's worth at once after a pause.
// Others do so where a deadline passes or a process ends. gRPC reads from whoever resets its calls
// at once without a bound, and needs 20 KiB and 160 us for each (1.51, on 2 processors,
// 2026-11-27).
constexpr int kCallsPerReset = 4;

constexpr char kTokenMetadata[] = "nodecomm-session-token";
constexpr char kAnsweredMetadata[] = "nodecomm-answered";
constexpr size_t kTokenHexDigits = 64;

// The one place where absl's codes become gRPC's: they have the same numbers.
grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message().substr(0, kErrorMessageBytesMax)));
}

// The raw token among the call's metadata, if there is exactly one of the right form.
std::optional<std::string> ReadToken(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  if (metadata.count(kTokenMetadata) != 1) return std::nullopt;
  const grpc::string_ref hex = metadata.find(kTokenMetadata)->second;
  if (hex.size() != kTokenHexDigits) return std::nullopt;
  for (const char digit : hex) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(digit))) return std::nullopt;
  }
  return absl::HexStringToBytes(absl::string_view(hex.data(), hex.size()));
}

// How many streams each user has open. Thread-safe.
class StreamCount {
 public:
  explicit StreamCount(int per_uid_max) : per_uid_max_(per_uid_max) {}

  // Whether the user may have another; if so, it counts until Return().
  bool Take(uid_t uid) {
    absl::MutexLock lock(&mu_);
    int& open = open_[uid];
    if (open >= per_uid_max_) return false;
    ++open;
    return true;
  }
  void Return(uid_t uid) {
    absl::MutexLock lock(&mu_);
    const auto open = open_.find(uid);
    if (--open->second == 0) open_.erase(open);
  }

 private:
  const int per_uid_max_;
  absl::Mutex mu_;
  absl::flat_hash_map<uid_t, int> open_ ABSL_GUARDED_BY(mu_);
};

// Who calls on control.sock, by the kernel's word, and how often and how much each user may. gRPC
// names a connection that it adopted by its descriptor. Thread-safe.
class Callers {
 public:
  explicit Callers(int calls_per_uid_per_second)
      : rate_(calls_per_uid_per_second, kCallsBurst * calls_per_uid_per_second),
        resets_(std::max(calls_per_uid_per_second / kCallsPerReset, 1), calls_per_uid_per_second) {}

  void Add(int fd, const PeerCredentials& peer) {
    absl::MutexLock lock(&mu_);
    peers_[absl::StrCat("fd:", fd)] = peer;
  }
  // A number that is used again belongs to the later connection: the earlier one makes no more
  // calls.
  std::optional<PeerCredentials> Find(const grpc::ServerContextBase& context) const {
    const std::string name = context.peer();
    absl::MutexLock lock(&mu_);
    const auto found = peers_.find(name);
    if (found == peers_.end()) return std::nullopt;
    return found->second;
  }

  // Whether the user may make a call now; if so, it counts.
  bool TakeCall(uid_t uid) { return rate_.Take(uid, SteadyNow()); }

  // Whether the user may reset a call now; if so, it counts.
  bool TakeReset(uid_t uid) { return resets_.Take(uid, SteadyNow()); }

  // What bounds the streams of a method of gRPC's own services.
  StreamCount& StreamsOf(std::string_view method) {
    return method.starts_with(kReflectionPrefix) ? reflections_ : watches_;
  }

 private:
  RateLimit rate_;
  RateLimit resets_;
  StreamCount reflections_{kReflectionStreamsPerUidMax};
  StreamCount watches_{kWatchStreamsPerUidMax};
  mutable absl::Mutex mu_;
  absl::flat_hash_map<std::string, PeerCredentials> peers_ ABSL_GUARDED_BY(mu_);
};

absl::StatusOr<Caller> FindCaller(const DaemonView& view, const PeerCredentials& peer,
                                  const grpc::CallbackServerContext& context) {
  AuthFailure failure = AuthFailure::kNoToken;
  if (const std::optional<std::string> token = ReadToken(context)) {
    const std::optional<Caller> caller = view.sessions->FindByToken(*token);
    if (caller.has_value() && caller->uid == peer.uid && caller->pid == peer.pid) return *caller;
    // One that was stolen is as good as none.
    failure = caller.has_value() ? AuthFailure::kForeignToken : AuthFailure::kUnknownToken;
  }
  if (view.auth_failed) view.auth_failed(failure, peer);
  return absl::UnauthenticatedError(
      "the call carries no token of an open session: open a session on session.sock first, and "
      "again after the daemon was restarted");
}

// Tells of every call's end, of whatever service.
class CallClock final : public grpc::experimental::Interceptor {
 public:
  CallClock(const DaemonView* view, grpc::experimental::ServerRpcInfo* info)
      : view_(view), info_(info) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      Tell(methods->GetSendStatus());
    }
    methods->Proceed();
  }

 private:
  void Tell(const grpc::Status& status) {
    std::string_view name = info_->method();  // "/package.Service/Method"
    if (!name.empty() && name.front() == '/') name.remove_prefix(1);
    // A name that no service has is a stranger's: as many as one likes.
    if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) name = "other/other";
    const size_t slash = std::min(name.find('/'), name.size());
    CallEnded ended{.service = std::string(name.substr(0, slash)),
                    .method = std::string(name.substr(std::min(slash + 1, name.size()))),
                    .code = static_cast<absl::StatusCode>(status.error_code()),
                    .duration = std::nullopt};
    if (info_->type() == grpc::experimental::ServerRpcInfo::Type::UNARY) {
      ended.duration = SteadyNow() - start_;
    }
    view_->call_ended(ended);
  }

  const DaemonView* const view_;                   // the server's, which outlives its calls
  grpc::experimental::ServerRpcInfo* const info_;  // gRPC's, which outlives its interceptors
  const SteadyTime start_ = SteadyNow();
};

class CallClocks final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit CallClocks(const DaemonView* view) : view_(view) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    return new CallClock(view_, info);  // gRPC deletes it with the call
  }

 private:
  const DaemonView* const view_;
};

// Looks for users on control.sock who reset their calls as fast as they can, and has them cut off.
class ResetGuard final : public grpc::experimental::Interceptor {
 public:
  ResetGuard(Callers* callers, const DaemonView* view, grpc::experimental::ServerRpcInfo* info)
      : callers_(callers), view_(view), info_(info) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using grpc::experimental::InterceptionHookPoints;
    // In the end gRPC may not know any more whose call it was.
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
      peer_ = callers_->Find(*info_->server_context());
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_CLOSE) &&
        info_->server_context()->IsCancelled() && peer_.has_value() &&
        !callers_->TakeReset(peer_->uid)) {
      view_->cut_off(peer_->uid);
    }
    methods->Proceed();
  }

 private:
  Callers* const callers_;                         // the server's, which outlives its calls
  const DaemonView* const view_;                   // likewise
  grpc::experimental::ServerRpcInfo* const info_;  // gRPC's, which outlives its interceptors
  std::optional<PeerCredentials> peer_;
};

class ResetGuards final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  ResetGuards(Callers* callers, const DaemonView* view) : callers_(callers), view_(view) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    // Of others gRPC does not say here whether they were reset. They have a guard of their own.
    const bool unary = info->type() == grpc::experimental::ServerRpcInfo::Type::UNARY;
    return unary ? new ResetGuard(callers_, view_, info) : nullptr;  // gRPC deletes it
  }

 private:
  Callers* const callers_;
  const DaemonView* const view_;
};

// Holds calls of gRPC's own services (health, reflection) on control.sock to their caller's bounds:
// they do not ask ours. One beyond them is cancelled before the service sees it.
class CallGuard final : public grpc::experimental::Interceptor {
 public:
  CallGuard(Callers* callers, const DaemonView* view, grpc::experimental::ServerRpcInfo* info)
      : callers_(callers), view_(view), info_(info) {}
  ~CallGuard() override {
    if (counted_in_ != nullptr) counted_in_->Return(uid_);
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
      refused_ = !Admit();
      // As an error of HTTP/2, by which the client knows the code, but not with a message.
      if (refused_) {
        grpc_call_cancel_with_status(info_->server_context()->c_call(),
                                     GRPC_STATUS_RESOURCE_EXHAUSTED, "refused", nullptr);
      }
    }
    // For those who count: the service knows only that the call is over. A method that there is not
    // stays that.
    if (refused_ && methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS) &&
        methods->GetSendStatus().error_code() != grpc::StatusCode::UNIMPLEMENTED) {
      methods->ModifySendStatus(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, ""));
    }
    methods->Proceed();
  }

 private:
  bool Admit() {
    const std::optional<PeerCredentials> peer = callers_->Find(*info_->server_context());
    if (!peer.has_value()) return false;
    const bool unary = info_->type() == grpc::experimental::ServerRpcInfo::Type::UNARY;
    const bool admitted = callers_->TakeCall(peer->uid);
    // Streams, as which methods that there are not count too, are opened seldom, and whether they
    // were reset is not known here. Of the others that is known too late where there are so many.
    const bool as_reset = !unary || !admitted;
    if (as_reset && !callers_->TakeReset(peer->uid)) view_->cut_off(peer->uid);
    if (!admitted) return false;
    if (unary) return true;
    StreamCount& streams = callers_->StreamsOf(info_->method());
    if (!streams.Take(peer->uid)) return false;
    uid_ = peer->uid;
    counted_in_ = &streams;
    return true;
  }

  Callers* const callers_;                         // the server's, which outlives its calls
  const DaemonView* const view_;                   // likewise
  grpc::experimental::ServerRpcInfo* const info_;  // gRPC's, which outlives its interceptors
  bool refused_ = false;
  uid_t uid_ = 0;
  StreamCount* counted_in_ = nullptr;  // of callers_
};

class CallGuards final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  CallGuards(Callers* callers, const DaemonView* view) : callers_(callers), view_(view) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    // Ours answer with the reason.
    const bool ours = std::string_view(info->method()).starts_with(kControlPrefix);
    return ours ? nullptr : new CallGuard(callers_, view_, info);  // gRPC deletes it with the call
  }

 private:
  Callers* const callers_;
  const DaemonView* const view_;
};

// A join, which others wait for. Tells if the caller cancels it, or its connection is lost, before
// the answer is written. Whether what was written has arrived gRPC does not say.
class JoinCall final : public grpc::ServerUnaryReactor {
 public:
  // Before gRPC is given this object.
  void OnLost(std::function<void()> lost) { lost_ = std::move(lost); }

  void OnCancel() override {
    if (lost_) lost_();
  }
  void OnDone() override { delete this; }

 private:
  std::function<void()> lost_;
};

// gRPC keeps a call's context, response and reactor until its Finish, also when the client has
// cancelled or died. So a cancelled call just waits for its answer, which goes nowhere: what a dead
// client held is the registry's business, which hears of the session's end. Of a join it hears at
// once, since the session may last.
class ControlService final : public v1::Control::CallbackService {
 public:
  ControlService(const DaemonView* view, Callers* callers) : view_(view), callers_(callers) {}

  void FailWaitingCalls(const absl::Status& status) { waiting_->FailAll(status); }

  grpc::ServerUnaryReactor* GetHost(grpc::CallbackServerContext* context, const v1::GetHostRequest*,
                                    v1::GetHostResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::Status admitted = Admit(*context).status();
    if (admitted.ok()) *response = AnswerGetHost(*view_);
    reactor->Finish(ToGrpc(admitted));
    return reactor;
  }

  grpc::ServerUnaryReactor* JoinGroup(grpc::CallbackServerContext* context,
                                      const v1::JoinGroupRequest* request,
                                      v1::JoinGroupResponse* response) override {
    auto* const join = new JoinCall;  // deletes itself when it is done
    return AnswerLater(context, join, [=, this](const Caller& caller, uint64_t call) {
      join->OnLost([groups = view_->groups, caller, attempt = request->attempt()] {
        groups->GiveUpJoin(caller, attempt, "cancelled its join, or the connection was lost");
      });
      view_->groups->Join(caller, *request, TakeAnswer(call, response));
    });
  }

  grpc::ServerUnaryReactor* ConfirmGroup(grpc::CallbackServerContext* context,
                                         const v1::ConfirmGroupRequest* request,
                                         v1::ConfirmGroupResponse*) override {
    return AnswerLater(
        context, context->DefaultReactor(), [=, this](const Caller& caller, uint64_t call) {
          view_->groups->Confirm(caller, *request, [calls = waiting_, call](absl::Status status) {
            if (WaitingCalls::Finish finish = calls->Take(call)) finish(std::move(status));
          });
        });
  }

  grpc::ServerUnaryReactor* AllocateShared(grpc::CallbackServerContext* context,
                                           const v1::AllocateSharedRequest* request,
                                           v1::AllocateSharedResponse* response) override {
    return AnswerLater(
        context, context->DefaultReactor(), [=, this](const Caller& caller, uint64_t call) {
          view_->groups->AllocateShared(caller, *request, TakeAnswer(call, response));
        });
  }

  grpc::ServerUnaryReactor* LeaveGroup(grpc::CallbackServerContext* context,
                                       const v1::LeaveGroupRequest* request,
                                       v1::LeaveGroupResponse*) override {
    return AnswerNow(context, [=, this](const Caller& caller) {
      return view_->groups->Leave(caller, *request);
    });
  }

  grpc::ServerUnaryReactor* AbortGroup(grpc::CallbackServerContext* context,
                                       const v1::AbortGroupRequest* request,
                                       v1::AbortGroupResponse*) override {
    return AnswerNow(context, [=, this](const Caller& caller) {
      return view_->groups->Abort(caller, *request);
    });
  }

  grpc::ServerUnaryReactor* FreeShared(grpc::CallbackServerContext* context,
                                       const v1::FreeSharedRequest* request,
                                       v1::FreeSharedResponse*) override {
    return AnswerNow(context, [=, this](const Caller& caller) {
      return view_->groups->FreeShared(caller, *request);
    });
  }

 private:
  // Who is at the other end, unless that user calls too often.
  absl::StatusOr<PeerCredentials> Admit(grpc::CallbackServerContext& context) {
    // With it, the client can tell the daemon's own word from what gRPC says of a lost connection.
    context.AddTrailingMetadata(kAnsweredMetadata, "1");
    const std::optional<PeerCredentials> peer = callers_->Find(context);
    if (!peer.has_value()) return absl::InternalError("a call from no known connection");
    if (callers_->TakeCall(peer->uid)) return *peer;
    return absl::ResourceExhaustedError(
        absl::StrFormat("user %d makes more than %d calls a second; slow down, or raise "
                        "limits.calls_per_uid_per_second",
                        peer->uid, view_->calls_per_uid_per_second));
  }

  absl::StatusOr<Caller> Identify(grpc::CallbackServerContext& context) {
    const absl::StatusOr<PeerCredentials> peer = Admit(context);
    if (!peer.ok()) return peer.status();
    return FindCaller(*view_, *peer, context);
  }

  grpc::ServerUnaryReactor* AnswerNow(grpc::CallbackServerContext* context,
                                      const std::function<absl::Status(const Caller&)>& act) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::StatusOr<Caller> caller = Identify(*context);
    reactor->Finish(ToGrpc(caller.ok() ? act(*caller) : caller.status()));
    return reactor;
  }

  // `ask` hands the call to the registry, whose answer then takes it from `waiting_`.
  grpc::ServerUnaryReactor* AnswerLater(
      grpc::CallbackServerContext* context, grpc::ServerUnaryReactor* reactor,
      const std::function<void(const Caller&, uint64_t call)>& ask) {
    const absl::StatusOr<Caller> caller = Identify(*context);
    if (!caller.ok()) {
      reactor->Finish(ToGrpc(caller.status()));
      return reactor;
    }
    const std::optional<uint64_t> call =
        waiting_->Add([reactor](const absl::Status& status) { reactor->Finish(ToGrpc(status)); });
    if (call.has_value()) ask(*caller, *call);
    return reactor;
  }

  template <typename Response>
  absl::AnyInvocable<void(absl::StatusOr<Response>)> TakeAnswer(uint64_t call, Response* response) {
    return [calls = waiting_, call, response](absl::StatusOr<Response> answer) {
      WaitingCalls::Finish finish = calls->Take(call);
      if (!finish) return;
      if (!answer.ok()) return finish(answer.status());
      *response = *std::move(answer);
      finish(absl::OkStatus());
    };
  }

  const DaemonView* const view_;  // the server's, which outlives its services
  Callers* const callers_;        // likewise
  const std::shared_ptr<WaitingCalls> waiting_ = std::make_shared<WaitingCalls>();
};

class AdminService final : public v1::Admin::CallbackService {
 public:
  explicit AdminService(const DaemonView* view) : view_(view) {}

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::GetStatusRequest*,
                                      v1::GetStatusResponse* response) override {
    return Answer(context, AnswerGetStatus(*view_), response);
  }

  grpc::ServerUnaryReactor* GetTopology(grpc::CallbackServerContext* context,
                                        const v1::GetTopologyRequest*,
                                        v1::GetTopologyResponse* response) override {
    return Answer(context, AnswerGetTopology(*view_), response);
  }

  grpc::ServerUnaryReactor* ListGroups(grpc::CallbackServerContext* context,
                                       const v1::ListGroupsRequest*,
                                       v1::ListGroupsResponse* response) override {
    return Answer(context, AnswerListGroups(*view_), response);
  }

  grpc::ServerUnaryReactor* ListPools(grpc::CallbackServerContext* context,
                                      const v1::ListPoolsRequest*,
                                      v1::ListPoolsResponse* response) override {
    return Answer(context, AnswerListPools(*view_), response);
  }

  grpc::ServerUnaryReactor* ListSessions(grpc::CallbackServerContext* context,
                                         const v1::ListSessionsRequest*,
                                         v1::ListSessionsResponse* response) override {
    return Answer(context, AnswerListSessions(*view_), response);
  }

  grpc::ServerUnaryReactor* GetConfig(grpc::CallbackServerContext* context,
                                      const v1::GetConfigRequest*,
                                      v1::GetConfigResponse* response) override {
    return Answer(context, view_->config(), response);
  }

  grpc::ServerUnaryReactor* CheckPeers(grpc::CallbackServerContext* context,
                                       const v1::CheckPeersRequest* request,
                                       v1::CheckPeersResponse* response) override {
    return Answer(context, AnswerCheckPeers(*view_, *request), response);
  }

  grpc::ServerUnaryReactor* ExplainFastPath(grpc::CallbackServerContext* context,
                                            const v1::ExplainFastPathRequest* request,
                                            v1::ExplainFastPathResponse* response) override {
    return Answer(context, AnswerExplainFastPath(*view_, *request), response);
  }

  grpc::ServerUnaryReactor* AbortGroup(grpc::CallbackServerContext* context,
                                       const v1::AdminAbortGroupRequest* request,
                                       v1::AdminAbortGroupResponse*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const std::string reason =
        request->reason().empty() ? "aborted by an administrator" : request->reason();
    reactor->Finish(ToGrpc(view_->groups->AbortByAdmin(request->generation(), reason)));
    return reactor;
  }

  grpc::ServerUnaryReactor* DrainGpu(grpc::CallbackServerContext* context,
                                     const v1::DrainGpuRequest* request,
                                     v1::DrainGpuResponse* response) override {
    return Answer(context, view_->gpus->Drain(*request), response);
  }

  grpc::ServerUnaryReactor* UndrainGpu(grpc::CallbackServerContext* context,
                                       const v1::UndrainGpuRequest* request,
                                       v1::UndrainGpuResponse* response) override {
    return Answer(context, view_->gpus->Undrain(*request), response);
  }

 private:
  template <typename Response>
  static grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                          std::type_identity_t<absl::StatusOr<Response>> answer,
                                          Response* response) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::Status status = answer.status();
    if (status.ok()) *response = *std::move(answer);
    reactor->Finish(ToGrpc(status));
    return reactor;
  }

  const DaemonView* const view_;  // the server's, which outlives its services
};

using Interceptors =
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>;

// A server without a port: its connections are adopted.
std::unique_ptr<grpc::Server> BuildServer(grpc::Service* service, const DaemonView& view,
                                          Interceptors interceptors) {
  grpc::ServerBuilder builder;
  // The last: it sees what the others made of a status.
  if (view.call_ended) interceptors.push_back(std::make_unique<CallClocks>(&view));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  builder.SetMaxReceiveMessageSize(kRequestBytesMax);
  // That bound would hold for what has been inflated already.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kCallsPerConnectionMax);
  builder.AddChannelArgument(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kBytesReadAtOnceMax);
  using Option = grpc::ServerBuilder::SyncServerOption;
  builder.SetSyncServerOption(Option::NUM_CQS, 1);
  builder.SetSyncServerOption(Option::MIN_POLLERS, 1);
  builder.SetSyncServerOption(Option::MAX_POLLERS, 1);
  grpc::ResourceQuota quota("nodecomm");
  quota.SetMaxThreads(kStreamThreadsMax);
  quota.Resize(kRequestsInMemoryBytesMax);
  builder.SetResourceQuota(quota);
  builder.RegisterService(service);
  return builder.BuildAndStart();
}

// gRPC takes deadlines of the wall clock, and turns each into one of the steady clock at once.
std::chrono::system_clock::time_point ForGrpc(SteadyTime deadline) {
  return std::chrono::system_clock::now() + absl::ToChronoMicroseconds(deadline - SteadyNow());
}

class GrpcServer final : public RpcServer {
 public:
  explicit GrpcServer(DaemonView view)
      : view_(std::move(view)),
        callers_(view_.calls_per_uid_per_second),
        control_service_(&view_, &callers_),
        admin_service_(&view_) {}

  ~GrpcServer() override { Shutdown(SteadyNow() + kShutdownAtDestruction); }

  absl::Status Start() {
    absl::Status failed = absl::InternalError("gRPC could not start its servers");
    for (size_t i = 0; i < kControlServers; ++i) {
      Interceptors guards;
      guards.push_back(std::make_unique<CallGuards>(&callers_, &view_));
      guards.push_back(std::make_unique<ResetGuards>(&callers_, &view_));
      control_servers_.push_back(BuildServer(&control_service_, view_, std::move(guards)));
      if (control_servers_.back() == nullptr) return failed;
    }
    admin_server_ = BuildServer(&admin_service_, view_, {});
    if (admin_server_ == nullptr) return failed;
    ABSL_ASSIGN_OR_RETURN(adopter_, Background::Start("adopter"));
    // Administrators may ask as long as there is a server.
    admin_server_->GetHealthCheckService()->SetServingStatus(kAdminService, true);
    SetServing(Serving::kNo);
    return absl::OkStatus();
  }

  void SetServing(Serving serving) override {
    for (const auto& server : control_servers_) {
      server->GetHealthCheckService()->SetServingStatus(kControlService, serving == Serving::kYes);
    }
  }

  void AdoptControl(UniqueFd connection, const PeerCredentials& peer) override {
    // Before gRPC may read from it.
    callers_.Add(connection.get(), peer);
    const size_t server = user_servers_.ServerOf(peer.uid, view_.sessions->ControlConnections());
    Adopt(control_servers_[server], std::move(connection));
  }

  void AdoptAdmin(UniqueFd connection) override { Adopt(admin_server_, std::move(connection)); }

  void Shutdown(SteadyTime deadline) override {
    absl::call_once(shutdown_once_, [&] {
      // First: gRPC's own shutdown waits for every call, even beyond the deadline.
      control_service_.FailWaitingCalls(
          absl::UnavailableError("the daemon is stopping: try again when it is back"));
      adopter_.reset();
      for (const auto& server : control_servers_) {
        if (server != nullptr) server->Shutdown(ForGrpc(deadline));
      }
      if (admin_server_ != nullptr) admin_server_->Shutdown(ForGrpc(deadline));
    });
  }

 private:
  // Not on the caller's thread: gRPC reads at once, and what a stranger sent may hold up whoever
  // reads it (daemon/session/foreign_sockets.h). Connections are bounded where they are accepted.
  void Adopt(const std::shared_ptr<grpc::Server>& server, UniqueFd connection) {
    adopter_->Run([server, connection = std::move(connection)]() mutable {
      grpc::AddInsecureChannelFromFd(server.get(), connection.Release());
    });
  }

  const DaemonView view_;
  Callers callers_;
  ControlService control_service_;
  AdminService admin_service_;
  UserServers user_servers_{kControlServers};
  // Shared with what the adopter still has to do.
  std::vector<std::shared_ptr<grpc::Server>> control_servers_;
  std::shared_ptr<grpc::Server> admin_server_;
  std::unique_ptr<Background> adopter_;
  absl::once_flag shutdown_once_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Create(DaemonView view) {
  // Of every server that is built from now on, of which there are ours alone.
  static absl::once_flag once;
  absl::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    // Reflection describes what is linked in, and gRPC's health service brings no descriptors.
    grpc::health::v1::HealthCheckRequest::descriptor();
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
  auto server = std::make_unique<GrpcServer>(std::move(view));
  if (const absl::Status started = server->Start(); !started.ok()) return started;
  return server;
}

}  // namespace nodecomm
