/* nodecomm: all-reduce between the GPUs of one host. The C API of libnodecomm, and its only stable
 * ABI. Not the C++ API (nodecomm.hpp, a header over this one), and not the administration
 * (nodecommctl).
 *
 * How it is used: every rank calls nodecomm_comm_create with the same name and world size and its
 * own rank; then nodecomm_all_reduce on its stream, eagerly or while capturing a CUDA graph.
 * Buffers need no registration.
 *
 * Errors: every function that can fail returns a nodecomm_result; nodecomm_last_error() then says
 * what failed, on what, and what to do. Functions never exit, print or throw; where the system has
 * no memory left for their own small needs, the process ends (std::terminate).
 *
 * Threads: different communicators may be used from different threads freely. On one communicator,
 * calls must not overlap, except nodecomm_comm_status, nodecomm_comm_abort, nodecomm_comm_supports,
 * nodecomm_comm_algorithm and nodecomm_comm_info, which any thread may call at any time before
 * destroy. nodecomm_all_reduce refuses a second thread, with NODECOMM_INVALID_ARGUMENT.
 *
 * Streams: a communicator has one call in flight at a time. Calls on one stream are in order by
 * themselves; who changes the stream must order the new one after the old one (with an event, say).
 * Two calls that run at the same time all the same fail the group for all ranks, and
 * nodecomm_comm_status says so (of two that were not captured; of graph replays in checked mode);
 * what they wrote, and what other ranks received of them, is undefined. All ranks must make the
 * same calls (count, type, operation) in the same order, graph replays included;
 * where calls differ in count or type, somebody waits until the deadline
 * (nodecomm_options.call_timeout_ms) and the group is aborted; nodecomm_options.checked finds it at
 * once and names the first difference. Creating a communicator and allocating or freeing a shared
 * buffer may wait for the GPU's work, so ranks order them alike among their calls of all
 * communicators, too.
 *
 * Overlap: a call lets the next kernel of its stream begin before it has written `out`, if that was
 * launched to overlap (programmatic stream serialization). Such a kernel has to wait
 * (griddepcontrol.wait, cudaGridDependencySynchronize) before it touches what earlier work writes
 * or what the call reads, and before it ends. A call waits so itself.
 *
 * GPU: a call may wait on all multiprocessors, where it takes at most half of the registers and
 * threads and hardly any shared memory; kernels that find room in the rest run beside it. So calls
 * of two communicators may be in flight on a GPU at the same time, begun in any order on each rank,
 * if no hardware queue holds one back behind the other: on two streams of a process that has no
 * more of them than CUDA_DEVICE_MAX_CONNECTIONS. Otherwise (more streams, branches of a graph) and
 * where more than two are in flight, order them alike on all ranks, by one stream or by events;
 * else they can keep each other from starting until the deadline
 * (nodecomm_options.call_timeout_ms).
 *
 * Ranks that are threads of one process: CUDA calls that wait for a GPU's work (cudaMalloc,
 * cudaFree, the first launch of a kernel) may hold up launches of other threads, and so the rank
 * that this work waits for. Ranks that are processes know nothing of it.
 *
 * Processes: a forked child must not use what its parent created; it may create communicators of
 * its own after exec. A process that has communicators keeps its user: a daemon that was restarted
 * knows it by its id and user, and ends the groups of one that has changed (setuid).
 */
#ifndef NODECOMM_NODECOMM_H_
#define NODECOMM_NODECOMM_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define NODECOMM_API __attribute__((visibility("default")))
#else
#define NODECOMM_API
#endif

/* In C++ too, any number may be passed; an unknown one gets an error. */
#ifdef __cplusplus
#define NODECOMM_ENUM_BASE : int
#else
#define NODECOMM_ENUM_BASE
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Who must act. The values are stable. */
typedef enum nodecomm_result NODECOMM_ENUM_BASE {
  NODECOMM_OK = 0,
  NODECOMM_INVALID_ARGUMENT = 1, /* the caller: a bad rank, type, pointer, name, ... */
  /* Other ranks did not come in time (the message names them), the daemon did not answer, or the
     GPU had no room to look at fresh memory. */
  NODECOMM_DEADLINE_EXCEEDED = 2,
  /* The ranks disagree, the host cannot hold the group, or the fast path does not serve it
     (nodecomm_comm_supports says why). */
  NODECOMM_FAILED_PRECONDITION = 3,
  NODECOMM_RESOURCE_EXHAUSTED = 4,  /* no memory or quota: later, or ask for less */
  NODECOMM_UNAVAILABLE = 5,         /* no daemon, or it went away */
  NODECOMM_ABORTED = 6,             /* the group failed; form it anew */
  NODECOMM_UNSUPPORTED_VERSION = 7, /* daemon and library do not fit */
  NODECOMM_INTERNAL = 8             /* CUDA or the system failed, or a bug of ours */
} nodecomm_result;

typedef enum nodecomm_type NODECOMM_ENUM_BASE {
  NODECOMM_FLOAT32 = 0,
  NODECOMM_FLOAT16 = 1,
  NODECOMM_BFLOAT16 = 2
} nodecomm_type;

typedef enum nodecomm_op NODECOMM_ENUM_BASE { NODECOMM_SUM = 0 } nodecomm_op;

/* Where the buffers of a communicator live. */
typedef enum nodecomm_platform NODECOMM_ENUM_BASE {
  NODECOMM_PLATFORM_CUDA = 1,
  /* A daemon started with --simulate: buffers are host memory, streams are ignored, calls return
     when done. */
  NODECOMM_PLATFORM_SIMULATED = 2
} nodecomm_platform;

/* Which algorithm serves a call. All give the same bits on all ranks: sums are taken in float32, in
 * rank order. */
typedef enum nodecomm_algorithm NODECOMM_ENUM_BASE {
  NODECOMM_ALGORITHM_AUTO = 0,     /* by size */
  NODECOMM_ALGORITHM_ONE_SHOT = 1, /* every rank pushes everything to every rank */
  NODECOMM_ALGORITHM_TWO_SHOT = 2, /* reduce-scatter, then all-gather, both pushed */
  NODECOMM_ALGORITHM_COPY = 3      /* world size 1 */
} nodecomm_algorithm;

typedef struct nodecomm_comm nodecomm_comm;
typedef struct nodecomm_shared nodecomm_shared;

#define NODECOMM_KEY_BYTES 16

/* Set struct_size to sizeof(nodecomm_options), and every field that is not used to 0. Fields that a
 * program was built without count as 0. */
typedef struct nodecomm_options {
  size_t struct_size;
  /* Names the group among those of this user. Required; 1 to 128 bytes of UTF-8. */
  const char* name;
  /* Optional: NODECOMM_KEY_BYTES random bytes (nodecomm_random_key) that the ranks share as they
     would an ncclUniqueId. Needed only where two jobs of one user may choose the same name. */
  const uint8_t* key;
  int world_size; /* number of ranks, at least 1 */
  int rank;       /* 0 to world_size - 1 */
  /* This rank's GPU, as CUDA counts devices in this process. On a simulated host: as the topology
   * lists them. */
  int device;
  /* Scratch memory of this rank; the same on every rank. 0: the daemon's default (36 MiB). Smaller
     works, slower for large messages; at least 2 MiB. */
  size_t plane_bytes;
  /* One algorithm for every size (for batch-invariant results); the same on every rank. */
  nodecomm_algorithm algorithm;
  /* How long to wait for the other ranks to join; 0: the daemon's default. At most 24 hours. Once
     all have joined, they have as long again, 5 to 30 seconds, to map the memory. */
  int64_t rendezvous_timeout_ms;
  /* How long a call waits for a rank that does not come before the group is given up, counted from
     the call's first wait of milliseconds; 0: 30,000. At most 24 hours. */
  int64_t call_timeout_ms;
  /* Directory of the daemon's sockets, an absolute path; NULL: NODECOMM_RUNTIME_DIR, else
     /run/nodecomm. */
  const char* runtime_dir;
  /* Not 0: checked mode, the same on every rank. Before each call the ranks compare what they call
     (how many calls before, bytes, type), graph replays included, and the first difference fails
     the group with NODECOMM_ABORTED: "rank 0 calls all-reduce no. 17 with 8192 bytes of bfloat16,
     but rank 2 with 4096 bytes of float32". One small kernel more a call; for finding mistakes, not
     for production. NODECOMM_CHECKED=1 in the environment does the same. */
  int checked;
} nodecomm_options;

/* What a communicator is. Where no daemon was asked (NODECOMM_DISABLE is set, or there are more
 * than 8 ranks) platform is 0, none of nodecomm_platform; plane_bytes and generation are 0, and
 * gpu_uuid is "". */
typedef struct nodecomm_info {
  size_t struct_size; /* in: sizeof(nodecomm_info) */
  int rank;           /* these three: as they were passed */
  int world_size;
  int device;
  nodecomm_platform platform;
  size_t plane_bytes;  /* scratch memory of each rank, as the ranks agreed on it, in bytes */
  uint64_t generation; /* of the group; every formation has a new one */
  char gpu_uuid[48];   /* "GPU-..." as nvidia-smi has it, or the simulated host's topology */
} nodecomm_info;

/* "0.1.0 (commit ..., CUDA ...)". Static. */
NODECOMM_API const char* nodecomm_version(void);

/* What went wrong in the last call of this thread that failed. Valid until this thread's next call.
 * Never NULL. */
NODECOMM_API const char* nodecomm_last_error(void);

/* The name of a result, as in "NODECOMM_ABORTED". Static. */
NODECOMM_API const char* nodecomm_result_name(nodecomm_result result);

/* Fills `key` with random bytes, to be sent to all ranks before they create their communicators. */
NODECOMM_API nodecomm_result nodecomm_random_key(uint8_t key[NODECOMM_KEY_BYTES]);

/* Joins the group and waits for all ranks (bounded by rendezvous_timeout_ms). Must not be called
 * while this thread captures a graph. Makes the device's primary context if there is none; the
 * current device is unchanged afterwards. Where the fast path cannot serve the group (see
 * nodecomm_comm_supports), this still succeeds: so do groups of more than 8 ranks, and all with
 * NODECOMM_DISABLE=1 in the environment; of these no daemon is asked, and nothing is supported.
 *
 * On an error *comm is NULL:
 *
 *   NODECOMM_INVALID_ARGUMENT: an option, the message says which; NODECOMM_ALGORITHM_COPY, too,
 *     cannot be chosen.
 *   NODECOMM_DEADLINE_EXCEEDED: ranks are missing, the daemon hangs, or the GPU had no room for
 *     30 s to look whether this rank's memory is fresh.
 *   NODECOMM_FAILED_PRECONDITION: the ranks disagree, the host or this process cannot hold the
 *     group, no permission to connect, no CUDA in this library, or a forked child.
 *   NODECOMM_RESOURCE_EXHAUSTED: a limit of the daemon or of this process, or no GPU memory.
 *   NODECOMM_UNAVAILABLE: no daemon, or it went away.
 *   NODECOMM_ABORTED: another rank gave up while the group formed.
 *   NODECOMM_UNSUPPORTED_VERSION: daemon and library do not fit.
 *   NODECOMM_INTERNAL: CUDA or the system failed, or memory that the daemon handed out as fresh is
 *     not zero. */
NODECOMM_API nodecomm_result nodecomm_comm_create(const nodecomm_options* options,
                                                  nodecomm_comm** comm);

/* out[i] = sum over all ranks of in[i], for i < count, on every rank, the same bits everywhere.
 * Sums are taken in float32 in rank order and rounded once to `type`.
 *
 *   in, out: count elements of `type`, aligned to the element, in memory that this communicator's
 *            device can access (host memory on a simulated host); equal, or not overlapping.
 *            16-byte alignment is faster.
 *   count:   from 0 to 32 GiB in all, the same on every rank.
 *   stream:  a cudaStream_t of the primary context of this communicator's device, not of a green
 *            context (NULL: its legacy default stream); may be capturing a graph. Ignored on a
 *            simulated host.
 *
 * Returns when the work is enqueued (on a simulated host, when it is done), without host work
 * beyond the kernel launches; allocates nothing. Errors:
 *
 *   NODECOMM_INVALID_ARGUMENT: null, misaligned or partly overlapping buffers, more than 32 GiB, an
 *     unknown type or operation, or another thread is in a call of this communicator.
 *   NODECOMM_FAILED_PRECONDITION: not supported, or a rank has left.
 *   NODECOMM_ABORTED: the group has failed. Once it has, the outputs of calls in flight are
 *     undefined and graph replays end at once; ask nodecomm_comm_status after synchronising.
 *   NODECOMM_INTERNAL: CUDA did not take the launch. */
NODECOMM_API nodecomm_result nodecomm_all_reduce(nodecomm_comm* comm, const void* in, void* out,
                                                 size_t count, nodecomm_type type, nodecomm_op op,
                                                 void* stream);

/* 1 if nodecomm_all_reduce serves messages of `bytes` bytes of `type`, else 0; then *reason (if not
 * NULL) says why and what to do, valid as long as the communicator. The same on every rank. */
NODECOMM_API int nodecomm_comm_supports(const nodecomm_comm* comm, size_t bytes, nodecomm_type type,
                                        const char** reason);

/* Which algorithm nodecomm_all_reduce takes for a message; the same on every rank. */
NODECOMM_API nodecomm_algorithm nodecomm_comm_algorithm(const nodecomm_comm* comm, size_t bytes,
                                                        nodecomm_type type);

/* "one_shot", "two_shot", "copy" or "auto". Static. */
NODECOMM_API const char* nodecomm_algorithm_name(nodecomm_algorithm algorithm);

/* Fills *info, whose struct_size is set. NODECOMM_INVALID_ARGUMENT: a null, or too small a size. */
NODECOMM_API nodecomm_result nodecomm_comm_info(const nodecomm_comm* comm, nodecomm_info* info);

/* NODECOMM_OK while the group works; NODECOMM_ABORTED (with the cause: rank, process, reason) once
 * it has failed; NODECOMM_FAILED_PRECONDITION once another rank has left. After the stream was
 * synchronised this is authoritative for every call on it, graph replays included. Costs a read of
 * host memory while the group works. The first call after this rank found the failure also tells
 * the daemon, which takes seconds if that hangs. */
NODECOMM_API nodecomm_result nodecomm_comm_status(nodecomm_comm* comm);

/* Fails the group for all ranks, for good; their kernels end within milliseconds. `reason`, for
 * people, may be NULL; its first 500 bytes are told. NODECOMM_UNAVAILABLE: the daemon is away, and
 * is told when it is back; so it is after NODECOMM_DEADLINE_EXCEEDED, if it hangs. Until then this
 * rank alone makes no more calls, and kernels that wait for it end at call_timeout_ms.
 * NODECOMM_FAILED_PRECONDITION: this rank has left. */
NODECOMM_API nodecomm_result nodecomm_comm_abort(nodecomm_comm* comm, const char* reason);

/* Waits for the device's work (if the fast path serves the group), then takes this rank out of the
 * group: calls that began before it complete on every rank, later ones of other ranks fail with
 * "rank r has left". Where the daemon hangs, the first such call of a process takes ten seconds,
 * and it is told all of them later. Afterwards only status, info, free and destroy are of use. Not
 * while any thread captures a graph on this GPU: CUDA ends a capture that somebody waits beside.
 * Then NODECOMM_FAILED_PRECONDITION, and nothing else has happened. */
NODECOMM_API nodecomm_result nodecomm_comm_leave(nodecomm_comm* comm);

/* Leaves if that has not been done, unmaps everything and frees `comm`. Graphs that captured its
 * calls must not be launched any more. NULL is allowed. Shared buffers of the communicator must
 * have been freed. To be called before main returns, since CUDA may be gone afterwards, and not
 * while a graph is being captured (see leave): both abort the group. */
NODECOMM_API void nodecomm_comm_destroy(nodecomm_comm* comm);

/* Gives every rank a zeroed buffer of `bytes` bytes on its GPU and maps all of them here, for
 * kernels of the caller's own. Collective: every rank calls with the same size, in the same order;
 * waits for all (bounded by rendezvous_timeout_ms). NODECOMM_INVALID_ARGUMENT: 0 bytes;
 * NODECOMM_FAILED_PRECONDITION: the fast path does not serve this group, or a rank has left. On an
 * error *shared is NULL and the group goes on, unless the daemon goes away meanwhile
 * (NODECOMM_UNAVAILABLE), or hangs beyond the time that it had itself (NODECOMM_DEADLINE_EXCEEDED):
 * the others may have the buffer, so the group is aborted. */
NODECOMM_API nodecomm_result nodecomm_shared_allocate(nodecomm_comm* comm, size_t bytes,
                                                      nodecomm_shared** shared);

/* The buffer of `rank` as this process sees it (device memory; host memory on a simulated host).
 * NULL: no such rank. */
NODECOMM_API void* nodecomm_shared_pointer(const nodecomm_shared* shared, int rank);

/* The size that was asked for. */
NODECOMM_API size_t nodecomm_shared_bytes(const nodecomm_shared* shared);

/* Unmaps all ranks' buffers here; the work that uses them must have ended. A buffer's memory is
 * freed when every rank has done so. NULL is allowed. */
NODECOMM_API void nodecomm_shared_free(nodecomm_shared* shared);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* NODECOMM_NODECOMM_H_ */
