// NCCL, loaded at run time, for a comparison in the same run.
// Declares the few functions it calls itself: nothing of NCCL is needed to build.
// Design note: client/perf/README.md.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/base/quantities.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

using NcclId = std::array<char, 128>;

// The library. Stays loaded until the process ends, since NCCL does not survive being unloaded.
class Nccl {
 public:
  // From $NODECOMM_NCCL_LIB, else libnccl.so.2. NotFound: not there, or not what it should be.
  static absl::StatusOr<std::unique_ptr<Nccl>> Load();

  // As in "2.28.9".
  std::string Version() const;
  absl::StatusOr<NcclId> MakeId() const;

  struct Functions;

 private:
  explicit Nccl(const Functions* functions) : functions_(functions) {}
  const Functions* const functions_;  // never freed, as the library
  friend class NcclCommunicator;
};

// One rank's end of a group; waits for all ranks when created. The current device is its device.
// One thread.
class NcclCommunicator {
 public:
  // `nccl` must outlive it.
  static absl::StatusOr<std::unique_ptr<NcclCommunicator>> Create(const Nccl& nccl,
                                                                  const NcclId& id, Rank rank,
                                                                  WorldSize ranks);
  ~NcclCommunicator();

  absl::Status AllReduce(const void* in, void* out, size_t count, nodecomm_type type,
                         void* stream) const;

 private:
  NcclCommunicator(const Nccl& nccl, void* communicator)
      : nccl_(nccl), communicator_(communicator) {}
  const Nccl& nccl_;
  void* const communicator_;
};

}  // namespace nodecomm::perf
