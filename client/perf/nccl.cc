// See nccl.h.
#include "client/perf/nccl.h"

#include <dlfcn.h>

#include <cstdlib>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"

namespace nodecomm::perf {
namespace {

// NCCL's ABI, version 2: an enum is an int, handles are pointers, and the id is a struct of 128
// bytes.
struct UniqueId {
  NcclId bytes;
};
constexpr int kSum = 0;

constexpr int NcclType(nodecomm_type type) {
  switch (type) {
    case NODECOMM_FLOAT32:
      return 7;
    case NODECOMM_FLOAT16:
      return 6;
    case NODECOMM_BFLOAT16:
      return 9;
  }
  return -1;
}

template <typename Function>
bool Resolve(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(::dlsym(library, name));
  return *function != nullptr;
}

}  // namespace

struct Nccl::Functions {
  int (*get_version)(int*);
  int (*get_unique_id)(UniqueId*);
  int (*init_rank)(void**, int, UniqueId, int);
  int (*all_reduce)(const void*, void*, size_t, int, int, void*, void*);
  int (*destroy)(void*);
  const char* (*error_string)(int);

  absl::Status ToStatus(int result, absl::string_view what) const {
    if (result == 0) return absl::OkStatus();
    return absl::InternalError(absl::StrFormat("NCCL, %s: %s", what, error_string(result)));
  }
};

absl::StatusOr<std::unique_ptr<Nccl>> Nccl::Load() {
  // Multicast is neither available everywhere nor what we compare with.
  ::setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/1);
  const char* chosen = std::getenv("NODECOMM_NCCL_LIB");
  const char* path = chosen != nullptr && *chosen != '\0' ? chosen : "libnccl.so.2";
  void* library = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::NotFoundError(
        absl::StrFormat("NCCL not found (%s); set NODECOMM_NCCL_LIB", ::dlerror()));
  }
  auto functions = std::make_unique<Functions>();
  if (!Resolve(library, "ncclGetVersion", &functions->get_version) ||
      !Resolve(library, "ncclGetUniqueId", &functions->get_unique_id) ||
      !Resolve(library, "ncclCommInitRank", &functions->init_rank) ||
      !Resolve(library, "ncclAllReduce", &functions->all_reduce) ||
      !Resolve(library, "ncclCommDestroy", &functions->destroy) ||
      !Resolve(library, "ncclGetErrorString", &functions->error_string)) {
    return absl::NotFoundError(
        absl::StrFormat("NCCL not found (%s lacks its functions); set NODECOMM_NCCL_LIB", path));
  }
  return std::unique_ptr<Nccl>(new Nccl(functions.release()));
}

std::string Nccl::Version() const {
  int version = 0;
  if (functions_->get_version(&version) != 0) return "unknown";
  return absl::StrFormat("%d.%d.%d", version / 10000, version % 10000 / 100, version % 100);
}

absl::StatusOr<NcclId> Nccl::MakeId() const {
  UniqueId id;
  ABSL_RETURN_IF_ERROR(functions_->ToStatus(functions_->get_unique_id(&id), "making a unique id"));
  return id.bytes;
}

absl::StatusOr<std::unique_ptr<NcclCommunicator>> NcclCommunicator::Create(const Nccl& nccl,
                                                                           const NcclId& id,
                                                                           Rank rank,
                                                                           WorldSize ranks) {
  void* communicator = nullptr;
  ABSL_RETURN_IF_ERROR(nccl.functions_->ToStatus(
      nccl.functions_->init_rank(&communicator, ranks.value, UniqueId{id}, rank.value),
      "creating a communicator"));
  return std::unique_ptr<NcclCommunicator>(new NcclCommunicator(nccl, communicator));
}

NcclCommunicator::~NcclCommunicator() { nccl_.functions_->destroy(communicator_); }

absl::Status NcclCommunicator::AllReduce(const void* in, void* out, size_t count,
                                         nodecomm_type type, void* stream) const {
  return nccl_.functions_->ToStatus(
      nccl_.functions_->all_reduce(in, out, count, NcclType(type), kSum, communicator_, stream),
      "all-reduce");
}

}  // namespace nodecomm::perf
