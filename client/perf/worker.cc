// See worker.h.
#include "client/perf/worker.h"

#include <cstring>
#include <new>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"

namespace nodecomm::perf {
namespace {

// The GPU that a rank takes: its own, or where there are too few, one that it shares.
DeviceIndex ChooseDevice(Rank rank, WorldSize ranks, int devices) {
  return {devices > 0 && ranks.value > devices ? rank.value % devices : rank.value};
}

}  // namespace

absl::Status ToStatus(nodecomm_result result, absl::string_view what) {
  if (result == NODECOMM_OK) return absl::OkStatus();
  const std::string message =
      absl::StrCat(what, ": ", nodecomm_result_name(result), ": ", nodecomm_last_error());
  return absl::InternalError(message);
}

Effort ChooseEffort(const Options& options, nodecomm_platform platform, int devices) {
  const bool shared = devices > 0 && options.ranks.value > devices;
  Effort effort{.calls_small = 100,
                .calls_large = 20,
                .repetitions_small = 20,
                .repetitions_large = 8,
                .warmup = 3};
  if (platform == NODECOMM_PLATFORM_SIMULATED || shared) effort = {2, 1, 3, 2, 1};
  if (options.repetitions) {
    effort.repetitions_small = effort.repetitions_large = *options.repetitions;
  }
  if (options.warmup) effort.warmup = *options.warmup;
  return effort;
}

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(const Options& options,
                                                       absl::string_view name, Rank rank,
                                                       Board* board, const SumsMemory* sums) {
  auto worker = std::unique_ptr<Worker>(new Worker(options, rank, board, sums));
  const absl::Status joined = worker->Join(name);
  if (!joined.ok()) {
    // Now, since the destructor looks there.
    board->ReportFailure(rank, joined.message());
    return joined;
  }
  return worker;
}

absl::Status Worker::Join(absl::string_view name) {
  const std::string group_name(name);
  const int devices = options_.gpus.value_or(CudaDeviceCount());
  nodecomm_options comm_options{};
  comm_options.struct_size = sizeof(comm_options);
  comm_options.name = group_name.c_str();
  comm_options.world_size = options_.ranks.value;
  comm_options.rank = rank_.value;
  comm_options.device = ChooseDevice(rank_, options_.ranks, devices).value;
  comm_options.plane_bytes = options_.plane_bytes.value;
  comm_options.algorithm = options_.algorithm;
  comm_options.runtime_dir = options_.runtime_dir.empty() ? nullptr : options_.runtime_dir.c_str();
  board_->joining(rank_) = true;
  const nodecomm_result created = nodecomm_comm_create(&comm_options, &comm_);
  board_->joining(rank_) = false;
  ABSL_RETURN_IF_ERROR(
      ToStatus(created, absl::StrFormat("joining group \"%s\" as rank %d on GPU %d", group_name,
                                        rank_.value, comm_options.device)));
  nodecomm_info info{};
  info.struct_size = sizeof(info);
  ABSL_RETURN_IF_ERROR(ToStatus(nodecomm_comm_info(comm_, &info), "asking for the group"));
  platform_ = info.platform;

  const bool on_gpu = platform_ == NODECOMM_PLATFORM_CUDA;
  mode_ = options_.mode.value_or(on_gpu ? Mode::kGraph : Mode::kEager);
  effort_ = ChooseEffort(options_, platform_, devices);
  if (on_gpu) {
    ABSL_ASSIGN_OR_RETURN(device_, CreateCudaDevice({info.device}));
  } else if (mode_ == Mode::kGraph) {
    return absl::FailedPreconditionError(
        "the daemon simulates its host, and graphs need a GPU; use --mode eager");
  } else {
    device_ = CreateHostDevice();
  }
  board_->gpu_name(rank_).Set(device_->Name());
  ABSL_RETURN_IF_ERROR(Barrier());
  // Only the first group's, since the parent may be reading them after that.
  const bool published = board_->facts().ready.load(std::memory_order_acquire) != 0;
  if (rank_.value == 0 && !published) PublishFacts(devices);
  return absl::OkStatus();
}

void Worker::PublishFacts(int devices) {
  RunFacts& facts = board_->facts();
  facts.platform = platform_;
  facts.mode = mode_;
  facts.calls_small = effort_.calls_small;
  facts.calls_large = effort_.calls_large;
  facts.repetitions_small = effort_.repetitions_small;
  facts.repetitions_large = effort_.repetitions_large;
  facts.devices = devices;
  if (platform_ == NODECOMM_PLATFORM_CUDA) {
    const CudaVersions versions = ReadCudaVersions();
    facts.driver.Set(versions.driver);
    facts.cuda_version.Set(versions.runtime);
  }
}

Worker::~Worker() {
  if (comm_ == nullptr) return;
  // Peers may wait inside a call for one that this rank no longer makes.
  if (board_->failed()) nodecomm_comm_abort(comm_, "nodecomm-perf: the run has failed");
  board_->leaving(rank_) = true;
  nodecomm_comm_destroy(comm_);
  board_->leaving(rank_) = false;
  board_->NoteProgress();
}

absl::Status Worker::ReserveArena(ByteCount size) {
  ABSL_ASSIGN_OR_RETURN(arena_, device_->Allocate(size));
  image_.reset(new (std::nothrow) std::byte[size.value]);
  if (image_ == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("allocating %d bytes of host memory", size.value));
  }
  return absl::OkStatus();
}

absl::Status Worker::UploadArena(const ArenaLayout& layout) {
  FillImage(layout, rank_, {image_.get(), layout.used().value});
  return device_->Upload(arena_->data(), image_.get(), layout.used());
}

absl::Status Worker::UploadZeros(const ArenaLayout& layout) {
  std::memset(image_.get(), 0, layout.used().value);
  return device_->Upload(arena_->data(), image_.get(), layout.used());
}

absl::StatusOr<uint64_t> Worker::CountWrong(const ArenaLayout& layout) {
  ABSL_RETURN_IF_ERROR(device_->Synchronize());
  ABSL_RETURN_IF_ERROR(CheckGroup());
  ABSL_RETURN_IF_ERROR(device_->Download(image_.get(), arena_->data(), layout.used()));
  const Verdict verdict =
      VerifyImage(layout, rank_, sums_->sums(), {image_.get(), layout.used().value});
  FixedText<320>& first = board_->first_wrong(rank_);
  if (verdict.wrong > 0 && first.Get().empty()) first.Set(verdict.first);
  return verdict.wrong;
}

absl::Status Worker::Enqueue(const ArenaCall& call) {
  const nodecomm_result result =
      nodecomm_all_reduce(comm_, At(call.in_offset), At(call.out_offset), call.count, call.type,
                          NODECOMM_SUM, device_->stream());
  // This is what eager runs time: no text is made for a call that succeeded.
  if (result == NODECOMM_OK) return absl::OkStatus();
  return ToStatus(
      result, absl::StrFormat("all-reduce of %d elements of %s", call.count, TypeName(call.type)));
}

absl::Status Worker::EnqueueAll(const ArenaLayout& layout) {
  for (const ArenaCall& call : layout.calls()) ABSL_RETURN_IF_ERROR(Enqueue(call));
  return absl::OkStatus();
}

absl::Status Worker::CheckGroup() { return ToStatus(nodecomm_comm_status(comm_), "the group"); }

}  // namespace nodecomm::perf
