// nodecomm in C++17 and later: move-only objects over the C API (nodecomm.h), in this header alone.
// Not a second ABI: all of it is inline, and nothing of it is exported by libnodecomm. Never throws
// by itself; works with and without exceptions.
//
//   nodecomm::Options options;
//   options.name = "model-0";
//   options.world_size = 4;
//   options.rank = rank;
//   options.device = device;
//   nodecomm::Result<nodecomm::Communicator> comm = nodecomm::Communicator::Create(options);
//   if (!comm.ok()) return Fail(comm.status().message());
//   nodecomm::Status status = comm->AllReduce(in, out, count, nodecomm::DataType::kBfloat16,
//                                             nodecomm::ReduceOp::kSum, stream);
//
// Errors, threads, streams and processes: as nodecomm.h says at its top.
#ifndef NODECOMM_NODECOMM_HPP_
#define NODECOMM_NODECOMM_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "nodecomm/nodecomm.h"

namespace nodecomm {

enum class DataType {
  kFloat32 = NODECOMM_FLOAT32,
  kFloat16 = NODECOMM_FLOAT16,
  kBfloat16 = NODECOMM_BFLOAT16,
};

enum class ReduceOp { kSum = NODECOMM_SUM };

enum class Algorithm {
  kAuto = NODECOMM_ALGORITHM_AUTO,
  kOneShot = NODECOMM_ALGORITHM_ONE_SHOT,
  kTwoShot = NODECOMM_ALGORITHM_TWO_SHOT,
  kCopy = NODECOMM_ALGORITHM_COPY,
};

// 128 random bits that keep equal names of two jobs apart.
using Key = std::array<std::uint8_t, NODECOMM_KEY_BYTES>;

// What a call came to: a code that says who must act, and a message that says what failed and what
// to do.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(nodecomm_result code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == NODECOMM_OK; }
  nodecomm_result code() const { return code_; }
  const std::string& message() const { return message_; }
  // "NODECOMM_ABORTED: rank 2 did not come in time ..."
  std::string ToString() const {
    return ok() ? "NODECOMM_OK" : std::string(nodecomm_result_name(code_)) + ": " + message_;
  }

 private:
  nodecomm_result code_ = NODECOMM_OK;
  std::string message_;
};

// A value, or the status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  // Implicit, so that a function returns either.
  // NOLINTNEXTLINE(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Result(T value) : value_(std::move(value)) {}

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  // Only if ok().
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

namespace internal {

// Of the call that this thread has just made.
inline Status LastStatus(nodecomm_result result) {
  return result == NODECOMM_OK ? Status() : Status(result, nodecomm_last_error());
}

struct DestroyComm {
  void operator()(nodecomm_comm* comm) const { nodecomm_comm_destroy(comm); }
};
struct FreeShared {
  void operator()(nodecomm_shared* shared) const { nodecomm_shared_free(shared); }
};

}  // namespace internal

// To be made by one process and sent to all ranks before they create their communicators.
inline Result<Key> RandomKey() {
  Key key;
  const Status status = internal::LastStatus(nodecomm_random_key(key.data()));
  if (!status.ok()) return status;
  return key;
}

struct Options {
  // Names the group among those of this user. Required; 1 to 128 bytes of UTF-8; the same on every
  // rank.
  std::string name;
  // Needed only where two jobs of one user may choose the same name.
  std::optional<Key> key;
  int world_size = 1;  // number of ranks
  int rank = 0;        // 0 to world_size - 1
  // This rank's GPU, as CUDA counts in this process. On a simulated host: as the topology lists
  // them.
  int device = 0;
  // Scratch memory of this rank, at least 2 MiB; the same on every rank. 0: the daemon's default
  // (36 MiB).
  std::size_t plane_bytes = 0;
  // One algorithm for every size (for batch-invariant results); the same on every rank.
  Algorithm algorithm = Algorithm::kAuto;
  // How long to wait for the other ranks to join; 0: the daemon's default. At most 24 hours.
  std::int64_t rendezvous_timeout_ms = 0;
  // How long a call waits for a rank that does not come before the group is given up; 0: 30,000. At
  // most 24 hours.
  std::int64_t call_timeout_ms = 0;
  // Directory of the daemon's sockets, an absolute path; empty: NODECOMM_RUNTIME_DIR, else
  // /run/nodecomm.
  std::string runtime_dir;
  // Checked mode, the same on every rank: before each call the ranks compare what they call, and
  // the first difference fails the group with a message that names it. For finding mistakes. Also
  // NODECOMM_CHECKED=1 in the environment.
  bool checked = false;
};

// A buffer a rank, all mapped into this process. Must be freed (destroyed) before its communicator
// is.
class SharedBuffer {
 public:
  // The buffer of `rank` as this process sees it: bytes() bytes of device memory (host memory on a
  // simulated host), zero at first. Null: no such rank.
  void* pointer(int rank) const { return nodecomm_shared_pointer(shared_.get(), rank); }
  // What was asked for, of each rank.
  std::size_t bytes() const { return nodecomm_shared_bytes(shared_.get()); }
  // Unmaps all ranks' buffers here; the work that uses them must have ended. As destroying does.
  void Free() { shared_.reset(); }

 private:
  friend class Communicator;
  explicit SharedBuffer(nodecomm_shared* shared) : shared_(shared) {}

  std::unique_ptr<nodecomm_shared, internal::FreeShared> shared_;
};

// One rank's end of a group. Destroying it leaves the group (waiting for the device's work) and
// unmaps the group's memory; graphs that captured its calls must not be launched any more. Neither
// after main has returned nor while a graph is being captured: nodecomm_comm_destroy. Threads:
// calls on one communicator must not overlap, except GetStatus, Abort, Supports, GetAlgorithm and
// GetInfo.
class Communicator {
 public:
  // Joins the group and waits for all ranks, at most rendezvous_timeout_ms. Must not be called
  // while this thread captures a graph. Succeeds also where the fast path cannot serve the group:
  // ask Supports. Errors: nodecomm_comm_create.
  static Result<Communicator> Create(const Options& options) {
    nodecomm_options c = {};
    c.struct_size = sizeof(c);
    c.name = options.name.c_str();
    c.key = options.key.has_value() ? options.key->data() : nullptr;
    c.world_size = options.world_size;
    c.rank = options.rank;
    c.device = options.device;
    c.plane_bytes = options.plane_bytes;
    c.algorithm = static_cast<nodecomm_algorithm>(options.algorithm);
    c.rendezvous_timeout_ms = options.rendezvous_timeout_ms;
    c.call_timeout_ms = options.call_timeout_ms;
    c.runtime_dir = options.runtime_dir.empty() ? nullptr : options.runtime_dir.c_str();
    c.checked = options.checked ? 1 : 0;
    nodecomm_comm* comm = nullptr;
    const Status status = internal::LastStatus(nodecomm_comm_create(&c, &comm));
    if (!status.ok()) return status;
    return Communicator(comm);
  }

  // out[i] = sum over all ranks of in[i], for i < count; the same bits on every rank. Sums are
  // taken in float32, in rank order, and rounded once to `type`.
  //   in, out: count elements of `type`, aligned to the element, in memory that this
  //            communicator's device can access (host memory on a simulated host); equal, or not
  //            overlapping. 16-byte alignment is faster.
  //   count:   from 0 to 32 GiB in all, the same on every rank.
  //   stream:  a cudaStream_t of this communicator's device (null: the legacy default stream); may
  //            be capturing a graph. Ignored on a simulated host, where the call returns when done.
  // Returns when the work is enqueued. One call in flight a communicator, stream-ordered. Errors:
  //   NODECOMM_INVALID_ARGUMENT: null, misaligned or partly overlapping buffers, more than 32 GiB,
  //     or another thread is in a call of this communicator.
  //   NODECOMM_FAILED_PRECONDITION: not supported, or a rank has left.
  //   NODECOMM_ABORTED: the group has failed, and the outputs of calls in flight are undefined; ask
  //     GetStatus after synchronising.
  //   NODECOMM_INTERNAL: CUDA did not take the launch.
  Status AllReduce(const void* in, void* out, std::size_t count, DataType type, ReduceOp op,
                   void* stream) {
    return internal::LastStatus(nodecomm_all_reduce(comm_.get(), in, out, count,
                                                    static_cast<nodecomm_type>(type),
                                                    static_cast<nodecomm_op>(op), stream));
  }

  // Whether AllReduce serves messages of `bytes` bytes; the same on every rank. If not, `*reason`
  // (if not null) says why and what to do, for as long as the communicator lives.
  bool Supports(std::size_t bytes, DataType type, const char** reason = nullptr) const {
    return nodecomm_comm_supports(comm_.get(), bytes, static_cast<nodecomm_type>(type), reason) !=
           0;
  }

  // Which algorithm serves a message; the same on every rank. kAuto: none.
  Algorithm GetAlgorithm(std::size_t bytes, DataType type) const {
    return static_cast<Algorithm>(
        nodecomm_comm_algorithm(comm_.get(), bytes, static_cast<nodecomm_type>(type)));
  }

  // As nodecomm_info says, also of communicators for which no daemon was asked.
  Result<nodecomm_info> GetInfo() const {
    nodecomm_info info = {};
    info.struct_size = sizeof(info);
    const Status status = internal::LastStatus(nodecomm_comm_info(comm_.get(), &info));
    if (!status.ok()) return status;
    return info;
  }

  // OK while the group works; NODECOMM_ABORTED, with the cause, once it has failed;
  // NODECOMM_FAILED_PRECONDITION once another rank has left. Authoritative for every call on a
  // stream that was synchronised, graph replays included. A read of host memory while the group
  // works; the first call after this rank found the failure also tells the daemon, which takes
  // seconds if that hangs. Any thread.
  Status GetStatus() { return internal::LastStatus(nodecomm_comm_status(comm_.get())); }

  // Fails the group for all ranks, for good; their kernels end within milliseconds.
  // NODECOMM_UNAVAILABLE: the daemon is away, and is told when it is back; until then kernels end
  // at call_timeout_ms. Any thread.
  Status Abort(const std::string& reason) {
    return internal::LastStatus(nodecomm_comm_abort(comm_.get(), reason.c_str()));
  }

  // Waits for the device's work (if the fast path serves the group), then takes this rank out:
  // calls that began before complete on every rank, later ones of others fail with "rank r has
  // left".
  Status Leave() { return internal::LastStatus(nodecomm_comm_leave(comm_.get())); }

  // Gives every rank a zeroed buffer of `bytes` bytes on its GPU and maps all of them here, for
  // kernels of the caller's own. Collective: every rank calls with the same size, in the same
  // order; waits at most rendezvous_timeout_ms. Errors: nodecomm_shared_allocate.
  Result<SharedBuffer> AllocateShared(std::size_t bytes) {
    nodecomm_shared* shared = nullptr;
    const Status status =
        internal::LastStatus(nodecomm_shared_allocate(comm_.get(), bytes, &shared));
    if (!status.ok()) return status;
    return SharedBuffer(shared);
  }

 private:
  explicit Communicator(nodecomm_comm* comm) : comm_(comm) {}

  std::unique_ptr<nodecomm_comm, internal::DestroyComm> comm_;
};

}  // namespace nodecomm

#endif  // NODECOMM_NODECOMM_HPP_
