// The C API (client/include/nodecomm/nodecomm.h): turns arguments and results, and nothing else.
// Not the logic: communicator.h. No exception crosses: what little throws below (an allocation that
// fails) ends the process, see Guarded. This file alone is compiled with exceptions for that.
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/base/version.h"
#include "client/communicator/communicator.h"
#include "nodecomm/nodecomm.h"

namespace {

using nodecomm::ByteCount;
using nodecomm::client::Communicator;
using nodecomm::client::CommunicatorInfo;
using nodecomm::client::CommunicatorOptions;
using nodecomm::client::SharedBuffer;
using nodecomm::kernels::Algorithm;
using nodecomm::kernels::ElementType;

}  // namespace

struct nodecomm_comm {
  Communicator::Owner communicator;
};

struct nodecomm_shared {
  SharedBuffer::Owner buffer;
};

namespace {

// A plain array: a thread's end runs no destructor of ours.
constexpr size_t kErrorBytesMax = 2048;
thread_local char last_error[kErrorBytesMax] = "";

nodecomm_result ResultOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return NODECOMM_OK;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kOutOfRange:
      return NODECOMM_INVALID_ARGUMENT;
    case absl::StatusCode::kDeadlineExceeded:
      return NODECOMM_DEADLINE_EXCEEDED;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnimplemented:
      return status.GetPayload(nodecomm::kUnsupportedVersionPayload).has_value()
                 ? NODECOMM_UNSUPPORTED_VERSION
                 : NODECOMM_FAILED_PRECONDITION;
    case absl::StatusCode::kResourceExhausted:
      return NODECOMM_RESOURCE_EXHAUSTED;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
      return NODECOMM_UNAVAILABLE;
    case absl::StatusCode::kAborted:
      return NODECOMM_ABORTED;
    default:
      return NODECOMM_INTERNAL;
  }
}

// The one place where a status becomes a result and a message.
nodecomm_result Report(const absl::Status& status) {
  if (status.ok()) [[likely]]
    return NODECOMM_OK;
  const size_t length = std::min(status.message().size(), kErrorBytesMax - 1);
  std::memcpy(last_error, status.message().data(), length);
  last_error[length] = '\0';
  return ResultOf(status);
}

absl::Status NullError(const char* argument) {
  return absl::InvalidArgumentError(absl::StrFormat("%s is null", argument));
}

absl::StatusOr<ElementType> ToElementType(nodecomm_type type) {
  switch (type) {
    case NODECOMM_FLOAT32:
      return ElementType::kFloat32;
    case NODECOMM_FLOAT16:
      return ElementType::kFloat16;
    case NODECOMM_BFLOAT16:
      return ElementType::kBfloat16;
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("type %d is not supported: use float32, float16 or bfloat16", type));
}

absl::StatusOr<std::optional<Algorithm>> ToAlgorithm(nodecomm_algorithm algorithm) {
  switch (algorithm) {
    case NODECOMM_ALGORITHM_AUTO:
      return std::nullopt;
    case NODECOMM_ALGORITHM_ONE_SHOT:
      return Algorithm::kOneShot;
    case NODECOMM_ALGORITHM_TWO_SHOT:
      return Algorithm::kTwoShot;
    case NODECOMM_ALGORITHM_COPY:
      return Algorithm::kCopy;
  }
  return absl::InvalidArgumentError(absl::StrFormat("algorithm %d is unknown", algorithm));
}

nodecomm_algorithm FromAlgorithm(std::optional<Algorithm> algorithm) {
  if (!algorithm.has_value()) return NODECOMM_ALGORITHM_AUTO;
  switch (*algorithm) {
    case Algorithm::kOneShot:
      return NODECOMM_ALGORITHM_ONE_SHOT;
    case Algorithm::kTwoShot:
      return NODECOMM_ALGORITHM_TWO_SHOT;
    case Algorithm::kCopy:
      return NODECOMM_ALGORITHM_COPY;
  }
  return NODECOMM_ALGORITHM_AUTO;
}

// What nodecomm_options was at first: up to `checked`.
constexpr size_t kOptionsBytesMin = offsetof(nodecomm_options, checked);

// A caller built with an older header passes a shorter struct: what it does not have is 0. One
// built with a newer header may pass a longer one, if what we do not know of it is not used.
absl::StatusOr<nodecomm_options> ReadOptions(const nodecomm_options* options) {
  constexpr size_t kKnown = sizeof(nodecomm_options);
  // No more of it than its first field can be relied on yet.
  const size_t size = options->struct_size;
  if (size < kOptionsBytesMin) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "struct_size of nodecomm_options is %d: set it to sizeof(nodecomm_options)", size));
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(options);
  if (size > kKnown &&
      std::any_of(bytes + kKnown, bytes + size, [](unsigned char b) { return b; })) {
    return absl::InvalidArgumentError(
        absl::StrFormat("nodecomm_options uses fields that this libnodecomm (%s) does not have: "
                        "install a newer one",
                        nodecomm::kVersion));
  }
  nodecomm_options read = {};
  std::memcpy(&read, bytes, std::min(size, kKnown));
  return read;
}

absl::StatusOr<CommunicatorOptions> ToOptions(const nodecomm_options* passed) {
  if (passed == nullptr) return NullError("options");
  ABSL_ASSIGN_OR_RETURN(const nodecomm_options options, ReadOptions(passed));
  CommunicatorOptions result;
  if (options.name != nullptr) result.name = options.name;
  if (options.key != nullptr) {
    result.key.assign(reinterpret_cast<const char*>(options.key), NODECOMM_KEY_BYTES);
  }
  result.world_size = {options.world_size};
  result.rank = {options.rank};
  result.device = {options.device};
  result.plane_bytes = {options.plane_bytes};
  ABSL_ASSIGN_OR_RETURN(result.algorithm, ToAlgorithm(options.algorithm));
  result.rendezvous_timeout = absl::Milliseconds(options.rendezvous_timeout_ms);
  if (options.call_timeout_ms != 0) {
    result.call_timeout = absl::Milliseconds(options.call_timeout_ms);
  }
  result.runtime_dir = nodecomm::client::RuntimeDir(options.runtime_dir);
  result.checked = options.checked != 0 || nodecomm::client::CheckedByEnvironment();
  return result;
}

absl::Status Create(const nodecomm_options* options, nodecomm_comm** comm) {
  if (comm == nullptr) return NullError("comm");
  *comm = nullptr;
  ABSL_ASSIGN_OR_RETURN(const CommunicatorOptions ours, ToOptions(options));
  ABSL_ASSIGN_OR_RETURN(Communicator::Owner communicator, Communicator::Create(ours));
  *comm = new nodecomm_comm{std::move(communicator)};
  return absl::OkStatus();
}

absl::Status AllReduce(nodecomm_comm* comm, const void* in, void* out, size_t count,
                       nodecomm_type type, nodecomm_op op, void* stream) {
  if (comm == nullptr) return NullError("comm");
  ABSL_ASSIGN_OR_RETURN(const ElementType element, ToElementType(type));
  if (op != NODECOMM_SUM) {
    return absl::InvalidArgumentError(
        absl::StrFormat("operation %d is not supported: only the sum is", op));
  }
  return comm->communicator->AllReduce({.in = in, .out = out, .count = count, .type = element},
                                       stream);
}

absl::Status FillInfo(const nodecomm_comm* comm, nodecomm_info* info) {
  if (comm == nullptr) return NullError("comm");
  if (info == nullptr) return NullError("info");
  if (info->struct_size < sizeof(nodecomm_info)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "struct_size of nodecomm_info is %d: set it to sizeof(nodecomm_info)", info->struct_size));
  }
  const CommunicatorInfo& ours = comm->communicator->info();
  info->rank = ours.rank.value;
  info->world_size = ours.world_size.value;
  info->device = ours.device.value;
  info->platform = static_cast<nodecomm_platform>(ours.platform);
  info->plane_bytes = ours.plane_bytes.value;
  info->generation = ours.generation;
  const size_t length = std::min(ours.gpu_uuid.size(), sizeof(info->gpu_uuid) - 1);
  std::memcpy(info->gpu_uuid, ours.gpu_uuid.data(), length);
  info->gpu_uuid[length] = '\0';
  return absl::OkStatus();
}

absl::Status AllocateShared(nodecomm_comm* comm, size_t bytes, nodecomm_shared** shared) {
  if (shared == nullptr) return NullError("shared");
  *shared = nullptr;
  if (comm == nullptr) return NullError("comm");
  ABSL_ASSIGN_OR_RETURN(SharedBuffer::Owner buffer,
                        comm->communicator->AllocateShared(ByteCount{bytes}));
  *shared = new nodecomm_shared{std::move(buffer)};
  return absl::OkStatus();
}

absl::Status RandomKey(uint8_t* key) {
  if (key == nullptr) return NullError("key");
  // So few bytes come whole or not at all.
  if (getrandom(key, NODECOMM_KEY_BYTES, 0) != NODECOMM_KEY_BYTES) {
    return absl::ErrnoToStatus(errno, "getrandom");
  }
  return absl::OkStatus();
}

// Unwinding through what is compiled without exceptions would run no destructors, and leave locks
// held behind an error that the caller may go on from.
template <typename Call>
auto Guarded(Call call) noexcept {
  return call();
}

template <typename Call>
nodecomm_result Answer(Call call) noexcept {
  return Report(call());
}

}  // namespace

extern "C" {

const char* nodecomm_version(void) { return nodecomm::kVersionLine; }

const char* nodecomm_last_error(void) { return last_error; }

const char* nodecomm_result_name(nodecomm_result result) {
  switch (result) {
    case NODECOMM_OK:
      return "NODECOMM_OK";
    case NODECOMM_INVALID_ARGUMENT:
      return "NODECOMM_INVALID_ARGUMENT";
    case NODECOMM_DEADLINE_EXCEEDED:
      return "NODECOMM_DEADLINE_EXCEEDED";
    case NODECOMM_FAILED_PRECONDITION:
      return "NODECOMM_FAILED_PRECONDITION";
    case NODECOMM_RESOURCE_EXHAUSTED:
      return "NODECOMM_RESOURCE_EXHAUSTED";
    case NODECOMM_UNAVAILABLE:
      return "NODECOMM_UNAVAILABLE";
    case NODECOMM_ABORTED:
      return "NODECOMM_ABORTED";
    case NODECOMM_UNSUPPORTED_VERSION:
      return "NODECOMM_UNSUPPORTED_VERSION";
    case NODECOMM_INTERNAL:
      return "NODECOMM_INTERNAL";
  }
  return "unknown result";
}

nodecomm_result nodecomm_random_key(uint8_t key[NODECOMM_KEY_BYTES]) {
  return Answer([&] { return RandomKey(key); });
}

nodecomm_result nodecomm_comm_create(const nodecomm_options* options, nodecomm_comm** comm) {
  return Answer([&] { return Create(options, comm); });
}

nodecomm_result nodecomm_all_reduce(nodecomm_comm* comm, const void* in, void* out, size_t count,
                                    nodecomm_type type, nodecomm_op op, void* stream) {
  return Answer([&] { return AllReduce(comm, in, out, count, type, op, stream); });
}

int nodecomm_comm_supports(const nodecomm_comm* comm, size_t bytes, nodecomm_type type,
                           const char** reason) {
  const char* const why = Guarded([&] {
    if (comm == nullptr) return "comm is null";
    const absl::StatusOr<ElementType> element = ToElementType(type);
    return element.ok() ? comm->communicator->WhyUnsupported(ByteCount{bytes}, *element)
                        : "the type is not supported: use float32, float16 or bfloat16";
  });
  if (reason != nullptr) *reason = why;
  return *why == '\0' ? 1 : 0;
}

nodecomm_algorithm nodecomm_comm_algorithm(const nodecomm_comm* comm, size_t bytes,
                                           nodecomm_type type) {
  return Guarded([&] {
    const absl::StatusOr<ElementType> element = ToElementType(type);
    if (comm == nullptr || !element.ok()) return NODECOMM_ALGORITHM_AUTO;
    return FromAlgorithm(comm->communicator->Algorithm(ByteCount{bytes}, *element));
  });
}

const char* nodecomm_algorithm_name(nodecomm_algorithm algorithm) {
  switch (algorithm) {
    case NODECOMM_ALGORITHM_AUTO:
      return "auto";
    case NODECOMM_ALGORITHM_ONE_SHOT:
      return "one_shot";
    case NODECOMM_ALGORITHM_TWO_SHOT:
      return "two_shot";
    case NODECOMM_ALGORITHM_COPY:
      return "copy";
  }
  return "unknown algorithm";
}

nodecomm_result nodecomm_comm_info(const nodecomm_comm* comm, nodecomm_info* info) {
  return Answer([&] { return FillInfo(comm, info); });
}

nodecomm_result nodecomm_comm_status(nodecomm_comm* comm) {
  return Answer([&] { return comm == nullptr ? NullError("comm") : comm->communicator->Status(); });
}

nodecomm_result nodecomm_comm_abort(nodecomm_comm* comm, const char* reason) {
  return Answer([&] {
    if (comm == nullptr) return NullError("comm");
    return comm->communicator->Abort(reason == nullptr ? "" : reason);
  });
}

nodecomm_result nodecomm_comm_leave(nodecomm_comm* comm) {
  return Answer([&] { return comm == nullptr ? NullError("comm") : comm->communicator->Leave(); });
}

void nodecomm_comm_destroy(nodecomm_comm* comm) {
  Guarded([&] { delete comm; });
}

nodecomm_result nodecomm_shared_allocate(nodecomm_comm* comm, size_t bytes,
                                         nodecomm_shared** shared) {
  return Answer([&] { return AllocateShared(comm, bytes, shared); });
}

void* nodecomm_shared_pointer(const nodecomm_shared* shared, int rank) {
  return shared == nullptr ? nullptr : shared->buffer->pointer({rank});
}

size_t nodecomm_shared_bytes(const nodecomm_shared* shared) {
  return shared == nullptr ? 0 : shared->buffer->bytes().value;
}

void nodecomm_shared_free(nodecomm_shared* shared) {
  Guarded([&] { delete shared; });
}

}  // extern "C"
