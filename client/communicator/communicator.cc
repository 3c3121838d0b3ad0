#include "client/communicator/communicator.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/mapping/cuda_device.h"
#include "client/mapping/host_device.h"
#include "kernels/tuning.h"

namespace nodecomm::client {
namespace {

constexpr absl::Duration kGetHostTimeout = absl::Seconds(10);

absl::Status ForkedError() {
  return absl::FailedPreconditionError(
      "the communicator was created before fork: a forked child cannot use it");
}

bool Overlap(const kernels::Message& message, size_t bytes) {
  const auto in = reinterpret_cast<uintptr_t>(message.in);
  const auto out = reinterpret_cast<uintptr_t>(message.out);
  return in != out && in < out + bytes && out < in + bytes;
}

bool Aligned(const void* pointer, size_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

std::string ReasonText(const v1::FastPath& fast_path) {
  if (fast_path.supported()) return "";
  if (!fast_path.detail().empty()) return fast_path.detail();
  return absl::StrFormat("the daemon does not serve these GPUs (%s): use NCCL",
                         v1::FastPathReason_Name(fast_path.reason()));
}

}  // namespace

absl::StatusOr<Communicator::Owner> Communicator::Create(const CommunicatorOptions& options) {
  ABSL_RETURN_IF_ERROR(Validate(options));
  Owner communicator(new Communicator(options));
  if (DisabledByEnvironment()) {
    communicator->unsupported_ = "disabled by NODECOMM_DISABLE in the environment";
    return communicator;
  }
  if (options.world_size.value > kWorldSizeMax) {
    // Nothing to ask the daemon: every rank comes to the same answer.
    communicator->unsupported_ = absl::StrFormat(
        "No fast path: a group of %d ranks; the fast path serves 1 to %d. Use NCCL "
        "for this group.",
        options.world_size.value, kWorldSizeMax);
    return communicator;
  }
  ABSL_RETURN_IF_ERROR(communicator->FormGroup(options));
  const absl::Status ready = communicator->MakeReady(options);
  if (ready.ok()) return communicator;
  // So that the others do not wait until their deadline for a rank that has given up.
  communicator
      ->Abort(absl::StrFormat("rank %d could not join: %s", options.rank.value, ready.message()))
      .IgnoreError();
  return ready;
}

Communicator::Communicator(const CommunicatorOptions& options) {
  info_.rank = options.rank;
  info_.world_size = options.world_size;
  info_.device = options.device;
}

void Communicator::Disposer::operator()(Communicator* communicator) const {
  if (communicator->stamp_.InSameProcess()) delete communicator;
}

Communicator::~Communicator() {
  // Also after a failure: the daemon then knows that this rank holds nothing any more.
  const absl::Status left = Leave();
  if (left_.load(std::memory_order_relaxed) || membership_ == nullptr) return;
  membership_
      ->Abort(absl::StrFormat("rank %d destroyed its communicator: %s", info_.rank.value,
                              left.message()))
      .IgnoreError();
  LeakMappings();
}

void Communicator::LeakMappings() {
  new std::vector<Mapping>(std::move(planes_));
  static_cast<void>(device_.release());
}

absl::Status Communicator::FormGroup(const CommunicatorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(std::shared_ptr<DaemonLink> link, DaemonLink::Open(options.runtime_dir));
  ABSL_RETURN_IF_ERROR(OpenDevice(*link));
  ABSL_ASSIGN_OR_RETURN(membership_, Membership::Join(std::move(link), options, device_->facts()));
  const v1::JoinGroupResponse& group = membership_->group();
  info_.generation = group.generation();
  info_.plane_bytes = {group.plane_bytes()};
  unsupported_ = ReasonText(group.fast_path());
  return absl::OkStatus();
}

absl::Status Communicator::OpenDevice(DaemonLink& link) {
  info_.platform = link.session().welcome().platform();
  if (info_.platform == v1::PLATFORM_SIMULATED) {
    ABSL_ASSIGN_OR_RETURN(const v1::GetHostResponse host, link.control().GetHost(kGetHostTimeout));
    ABSL_ASSIGN_OR_RETURN(device_, CreateHostDevice(host.host(), info_.device));
  } else {
    ABSL_ASSIGN_OR_RETURN(device_, CreateCudaDevice(info_.device));
  }
  info_.gpu_uuid = device_->facts().gpu_uuid;
  return absl::OkStatus();
}

absl::Status Communicator::MakeReady(const CommunicatorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(std::vector<UniqueFd> fds, membership_->TakeGroupFds());
  ABSL_RETURN_IF_ERROR(MapGroup(std::move(fds)));
  if (unsupported_.empty()) {
    FillBinding(options);
    if (info_.world_size.value > 1) {
      ABSL_RETURN_IF_ERROR(device_->Bind(binding_));
      // Nobody writes a plane before all ranks have confirmed.
      ABSL_RETURN_IF_ERROR(CheckFresh());
    }
  }
  ABSL_RETURN_IF_ERROR(membership_->Confirm());
  ready_ = true;
  return absl::OkStatus();
}

absl::Status Communicator::MapGroup(std::vector<UniqueFd> fds) {
  // A group without fast path may come without planes; a control page it always has.
  const size_t planes = fds.empty() ? 0 : fds.size() - 1;
  if (fds.empty() ||
      (unsupported_.empty() && planes != static_cast<size_t>(info_.world_size.value))) {
    return absl::InternalError(
        absl::StrFormat("the daemon sent %d file descriptors for a group of %d ranks", fds.size(),
                        info_.world_size.value));
  }
  ABSL_ASSIGN_OR_RETURN(control_page_, device_->MapControlPage(std::move(fds.back())));
  const ControlPage& page = *control_page_.on_host;
  if (page.magic != kControlPageMagic || page.version != kControlPageVersion ||
      page.generation != info_.generation) {
    return absl::InternalError(absl::StrFormat(
        "the daemon sent a control page of version %d and generation %d, expected %d and %d",
        page.version, page.generation, kControlPageVersion, info_.generation));
  }
  health_.emplace(info_.rank, &page, device_->failure().on_host);
  // Peers' memory is not mapped where the links may not allow it.
  if (!unsupported_.empty()) return absl::OkStatus();
  for (size_t rank = 0; rank < planes; ++rank) {
    ABSL_ASSIGN_OR_RETURN(Mapping plane,
                          device_->MapPlane(std::move(fds[rank]), info_.plane_bytes));
    planes_.push_back(std::move(plane));
  }
  return absl::OkStatus();
}

absl::Status Communicator::CheckFresh() {
  absl::Status zero = device_->CheckZero(planes_[info_.rank.value]);
  if (zero.ok()) return zero;
  // Kernels would take what is there for packets of their peers.
  return absl::Status(zero.code(),
                      absl::StrFormat("the plane of rank %d (%s) is not fresh memory: %s",
                                      info_.rank.value, info_.gpu_uuid, zero.message()));
}

void Communicator::FillBinding(const CommunicatorOptions& options) {
  const v1::JoinGroupResponse& group = membership_->group();
  int multiprocessors = std::numeric_limits<int>::max();
  std::optional<int> architecture;
  for (const v1::Member& member : group.members()) {
    multiprocessors = std::min(multiprocessors, member.multiprocessors());
    const int its = 10 * member.compute_capability_major() + member.compute_capability_minor();
    architecture = kernels::CommonArchitecture(architecture.value_or(its), its);
  }
  binding_.rank = info_.rank;
  binding_.shape = {.world_size = info_.world_size,
                    .layout = kernels::LayOutPlane(info_.plane_bytes, info_.world_size),
                    .multiprocessors = multiprocessors,
                    .architecture = architecture.value_or(0),
                    .algorithm_override = options.algorithm};
  for (size_t rank = 0; rank < planes_.size(); ++rank) {
    binding_.planes[rank] = planes_[rank].data();
  }
  const ControlPage* page = control_page_.on_device;
  binding_.stop_words = {
      .stop = &page->stop, .left_mask = &page->left_mask, .left_epoch = page->left_epoch};
  binding_.failure = device_->failure().on_device;
  binding_.checked = options.checked && info_.world_size.value > 1;
  binding_.timeout_ns = absl::ToInt64Nanoseconds(options.call_timeout);
  binding_.compute_capability_major = device_->facts().compute_capability_major;
}

absl::Status Communicator::AllReduce(const kernels::Message& message, void* stream) {
  // Kernels on two streams would notice, and end the group; here it costs the second caller alone.
  if (calling_.exchange(true, std::memory_order_acquire)) {
    return absl::InvalidArgumentError(
        "calls on one communicator must not overlap: another thread is in an all-reduce of it");
  }
  absl::Status done = AllReduceAlone(message, stream);
  calling_.store(false, std::memory_order_release);
  return done;
}

absl::Status Communicator::AllReduceAlone(const kernels::Message& message, void* stream) {
  ABSL_RETURN_IF_ERROR(CheckSupported());
  ABSL_RETURN_IF_ERROR(CheckMessage(message));
  ABSL_RETURN_IF_ERROR(Status());
  if (message.count == 0 && !binding_.checked) return absl::OkStatus();
  if (info_.world_size.value == 1) return device_->Copy(message, stream);
  absl::Status done = device_->AllReduce(message, stream);
  if (done.ok()) return done;
  // The group's state says why, where the device says only that it gave up.
  absl::Status cause = Status();
  return cause.ok() ? done : cause;
}

absl::Status Communicator::CheckSupported() const {
  if (!stamp_.InSameProcess()) return ForkedError();
  if (!unsupported_.empty()) return absl::FailedPreconditionError(unsupported_);
  if (left_.load(std::memory_order_relaxed)) {
    return absl::FailedPreconditionError("this rank has left the group");
  }
  return absl::OkStatus();
}

absl::Status Communicator::CheckMessage(const kernels::Message& message) const {
  if (message.count == 0) return absl::OkStatus();
  const size_t element = kernels::ElementBytes(message.type);
  if (message.in == nullptr || message.out == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrFormat("in or out is null, with a count of %d", message.count));
  }
  if (message.count > std::numeric_limits<ptrdiff_t>::max() / element) {
    return absl::InvalidArgumentError(
        absl::StrFormat("count %d is more than memory can hold", message.count));
  }
  if (!Aligned(message.in, element) || !Aligned(message.out, element)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("in (%p) and out (%p) must be aligned to the element's %d bytes",
                        message.in, message.out, element));
  }
  if (Overlap(message, message.count * element)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("in (%p) and out (%p) overlap by part: %d bytes must be equal or apart",
                        message.in, message.out, message.count * element));
  }
  return absl::OkStatus();
}

const char* Communicator::WhyUnsupported(ByteCount message, kernels::ElementType type) const {
  if (!unsupported_.empty()) return unsupported_.c_str();
  if (message.value % kernels::ElementBytes(type) != 0) {
    return "the message is not a whole number of elements: round its size";
  }
  if (message.value > kernels::kMessageBytesMax && info_.world_size.value > 1) {
    return "the message has more than 32 GiB: use several calls";
  }
  return "";
}

std::optional<kernels::Algorithm> Communicator::Algorithm(ByteCount message,
                                                          kernels::ElementType type) const {
  if (!unsupported_.empty()) return std::nullopt;
  if (info_.world_size.value == 1) return kernels::Algorithm::kCopy;
  return kernels::SelectPlan(message, type, binding_.shape).algorithm;
}

absl::Status Communicator::Status() {
  if (!stamp_.InSameProcess()) return ForkedError();
  if (!health_.has_value()) return absl::OkStatus();
  absl::Status status = health_->Check();
  if (status.ok() && !aborted_.load(std::memory_order_relaxed)) return status;
  const std::optional<std::string> finding = health_->OwnFinding();
  if (finding.has_value() && !finding_reported_.exchange(true)) {
    // Once: a daemon that is away is told when it is back. It stops the others with it; until then
    // they know at least that this rank gave the group up.
    membership_->Abort(*finding).IgnoreError();
  }
  return status.ok() ? absl::AbortedError("this rank aborted the group") : status;
}

absl::Status Communicator::Abort(std::string_view reason) {
  if (!stamp_.InSameProcess()) return ForkedError();
  if (membership_ == nullptr) return absl::OkStatus();
  if (left_.load(std::memory_order_relaxed)) {
    return absl::FailedPreconditionError("this rank has left the group and cannot abort it");
  }
  aborted_.store(true, std::memory_order_relaxed);
  return membership_->Abort(reason.empty()
                                ? absl::StrFormat("rank %d aborted the group", info_.rank.value)
                                : std::string(reason));
}

absl::Status Communicator::Leave() {
  if (!stamp_.InSameProcess()) return ForkedError();
  if (membership_ == nullptr || left_.exchange(true)) return absl::OkStatus();
  const absl::StatusOr<uint32_t> epoch = ReadLastEpoch();
  if (absl::IsFailedPrecondition(epoch.status())) {
    // Calls may still be under way, and the group works: the caller may try again.
    left_.store(false);
    return epoch.status();
  }
  if (!epoch.ok()) {
    // How far this rank got is not known, so nobody can rely on it.
    membership_->Abort(absl::StrFormat("rank %d: %s", info_.rank.value, epoch.status().message()))
        .IgnoreError();
  }
  const absl::Status left = membership_->Leave(epoch.ok() ? *epoch : 0);
  return epoch.ok() ? left : epoch.status();
}

absl::StatusOr<uint32_t> Communicator::ReadLastEpoch() {
  // Nothing was launched: nobody waits for the application's work, which may be a capture.
  if (!ready_ || planes_.empty()) return 0;
  ABSL_RETURN_IF_ERROR(device_->Synchronize());
  ABSL_ASSIGN_OR_RETURN(const PlaneHeaderCopy header,
                        device_->CopyPlaneHeader(planes_[info_.rank.value]));
  return kernels::LastEpoch(header.data());
}

absl::StatusOr<SharedBuffer::Owner> Communicator::AllocateShared(ByteCount bytes) {
  ABSL_RETURN_IF_ERROR(CheckSupported());
  ABSL_RETURN_IF_ERROR(Status());
  if (bytes.value == 0) return absl::InvalidArgumentError("a shared buffer has at least 1 byte");
  return SharedBuffer::Allocate(membership_, *device_, bytes);
}

}  // namespace nodecomm::client
