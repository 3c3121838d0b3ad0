#include "client/session/daemon_link.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

// How long a link whose daemon was restarted may take to stand again.
constexpr absl::Duration kReconnectTimeout = absl::Seconds(5);

// A daemon that is only restarted is back by then. One that is not learns of what it was to be told
// when the session has not come back in time.
constexpr absl::Duration kLingerTimeout = absl::Minutes(2);

using LinkOr = absl::StatusOr<std::shared_ptr<DaemonLink>>;

// A thread's attempt to open a link; others that want the same wait for it, so that a process has
// one session.
struct Attempt {
  bool done = false;
  LinkOr result = absl::UnknownError("not done");
};

struct Entry {
  std::weak_ptr<DaemonLink> link;
  // Those that nobody uses any more and that linger; the next to open a link looks through them.
  // More than one only where a link was opened just as the one before began to linger.
  std::vector<std::shared_ptr<DaemonLink>> lingering;
  std::shared_ptr<Attempt> attempt;  // null: none under way
};

struct Registry {
  const ProcessStamp stamp;
  absl::Mutex mutex;
  std::map<std::string, Entry> entries ABSL_GUARDED_BY(mutex);  // by runtime directory
};

// Leaked on purpose: communicators may be destroyed while the process exits, after static objects.
Registry& GetRegistry() {
  static auto* registry = new Registry;
  return *registry;
}

// The attempt to wait for, or a new one for the caller to carry out.
struct Turn {
  std::shared_ptr<Attempt> attempt;
  bool own = false;
  std::shared_ptr<DaemonLink> link = nullptr;  // the one that there is, which may stand or not
};

Turn TakeTurn(Registry& registry, const std::string& runtime_dir) {
  // Both outlive the lock: dropping the last reference to a link takes it, or joins the link's
  // thread.
  std::shared_ptr<DaemonLink> link;
  std::vector<std::shared_ptr<DaemonLink>> lingering;
  const absl::MutexLock lock(&registry.mutex);
  Entry& entry = registry.entries[runtime_dir];
  if (entry.attempt != nullptr) return {.attempt = entry.attempt};
  link = entry.link.lock();
  lingering.swap(entry.lingering);
  auto attempt = std::make_shared<Attempt>();
  entry.attempt = attempt;
  return {.attempt = std::move(attempt), .own = true, .link = std::move(link)};
}

// Bounded by the attempt's own bound.
LinkOr WaitFor(Registry& registry, const Attempt& attempt) {
  const absl::MutexLock lock(&registry.mutex);
  registry.mutex.Await(absl::Condition(&attempt.done));
  return attempt.result;
}

LinkOr Finish(Registry& registry, const std::string& runtime_dir, LinkOr result) {
  const absl::MutexLock lock(&registry.mutex);
  Entry& entry = registry.entries[runtime_dir];
  entry.attempt->result = result;
  entry.attempt->done = true;
  entry.attempt.reset();
  if (result.ok()) entry.link = *result;
  return result;
}

}  // namespace

absl::StatusOr<std::shared_ptr<DaemonLink>> DaemonLink::Open(const std::string& runtime_dir) {
  Registry& registry = GetRegistry();
  if (!registry.stamp.InSameProcess()) {
    return absl::FailedPreconditionError(
        "this process was forked from one that had used nodecomm: start it by exec, or fork before "
        "the first communicator");
  }
  const Turn turn = TakeTurn(registry, runtime_dir);
  if (!turn.own) return WaitFor(registry, *turn.attempt);
  if (turn.link != nullptr) {
    turn.link->session().StopLingering();
    const absl::Status stands = turn.link->session().EnsureConnected(kReconnectTimeout);
    if (stands.ok()) return Finish(registry, runtime_dir, turn.link);
    if (!turn.link->session().ended()) return Finish(registry, runtime_dir, stands);
  }
  return Finish(registry, runtime_dir, Make(runtime_dir));
}

absl::StatusOr<std::shared_ptr<DaemonLink>> DaemonLink::Make(const std::string& runtime_dir) {
  ABSL_ASSIGN_OR_RETURN(WorkerSession::Owner session, WorkerSession::Connect(runtime_dir));
  ABSL_RETURN_IF_ERROR(ControlClient::CheckRoom());
  auto control = std::make_unique<ControlClient>(runtime_dir, session->welcome().token());
  return std::shared_ptr<DaemonLink>(
      new DaemonLink(runtime_dir, std::move(session), std::move(control)), &DaemonLink::Dispose);
}

DaemonLink::DaemonLink(std::string runtime_dir, WorkerSession::Owner session,
                       std::unique_ptr<ControlClient> control)
    : runtime_dir_(std::move(runtime_dir)),
      control_(std::move(control)),
      notices_([session = session.get()] { session->RetryLater(); }),
      session_(std::move(session)) {
  session_->OnResume([this] {
    control_->Reconnect();
    notices_.DaemonIsBack();
    notices_.TellKept();
  });
  session_->OnRetry([this] { notices_.TellKept(); });
  // The link stays until the next is opened, which may never be; its connection is not to.
  session_->OnUnused([this] { control_->Reconnect(); });
}

void DaemonLink::Dispose(DaemonLink* link) {
  if (!link->stamp_.InSameProcess()) return;
  if (link->session_->Linger(kLingerTimeout)) {
    std::shared_ptr<DaemonLink> lingering(link, &DaemonLink::Dispose);
    Registry& registry = GetRegistry();
    const absl::MutexLock lock(&registry.mutex);
    Entry& entry = registry.entries[link->runtime_dir_];
    if (entry.link.expired()) entry.link = lingering;
    entry.lingering.push_back(std::move(lingering));
  } else {
    delete link;
  }
}

}  // namespace nodecomm
