#include "client/session/daemon_link.h"

#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

// The process's links, by runtime directory. One that nobody uses any more, or whose daemon has
// gone, is replaced.
struct Registry {
  const ProcessStamp stamp;
  absl::Mutex mutex;
  std::map<std::string, std::weak_ptr<DaemonLink>> links ABSL_GUARDED_BY(mutex);
};

// Leaked on purpose: communicators may be destroyed while the process exits, after static objects.
Registry& GetRegistry() {
  static Registry* const registry = new Registry;
  return *registry;
}

std::shared_ptr<DaemonLink> Find(Registry& registry, const std::string& runtime_dir) {
  std::weak_ptr<DaemonLink> known;
  {
    const absl::MutexLock lock(&registry.mutex);
    known = registry.links[runtime_dir];
  }
  std::shared_ptr<DaemonLink> link = known.lock();
  return link != nullptr && !link->session().ended() ? link : nullptr;
}

// Of two threads that made a link at the same moment the later takes the earlier's.
std::shared_ptr<DaemonLink> Publish(Registry& registry, const std::string& runtime_dir,
                                    std::shared_ptr<DaemonLink> made) {
  // Outlives the lock: dropping the last reference to a link joins its thread.
  std::shared_ptr<DaemonLink> earlier;
  const absl::MutexLock lock(&registry.mutex);
  std::weak_ptr<DaemonLink>& known = registry.links[runtime_dir];
  earlier = known.lock();
  if (earlier != nullptr && !earlier->session().ended()) return earlier;
  known = made;
  return made;
}

}  // namespace

absl::StatusOr<std::shared_ptr<DaemonLink>> DaemonLink::Open(const std::string& runtime_dir) {
  Registry& registry = GetRegistry();
  if (!registry.stamp.InSameProcess()) {
    return absl::FailedPreconditionError(
        "this process was forked from one that had used nodecomm: start it by exec, or fork before "
        "the first communicator");
  }
  if (std::shared_ptr<DaemonLink> link = Find(registry, runtime_dir); link != nullptr) return link;
  ABSL_ASSIGN_OR_RETURN(std::shared_ptr<DaemonLink> made, Make(runtime_dir));
  return Publish(registry, runtime_dir, std::move(made));
}

absl::StatusOr<std::shared_ptr<DaemonLink>> DaemonLink::Make(const std::string& runtime_dir) {
  ABSL_ASSIGN_OR_RETURN(WorkerSession::Owner session, WorkerSession::Connect(runtime_dir));
  auto control = std::make_unique<ControlClient>(runtime_dir, session->welcome().token());
  return std::shared_ptr<DaemonLink>(new DaemonLink(std::move(session), std::move(control)),
                                     &DaemonLink::Dispose);
}

DaemonLink::DaemonLink(WorkerSession::Owner session, std::unique_ptr<ControlClient> control)
    : session_(std::move(session)), control_(std::move(control)) {}

void DaemonLink::Dispose(DaemonLink* link) {
  if (link->stamp_.InSameProcess()) {
    delete link;
    return;
  }
  link->session_.reset();
}

}  // namespace nodecomm
