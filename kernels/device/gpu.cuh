// The machine of the GPU: every PTX instruction that the protocols use, wrapped once and named.
// Not the protocols. The same operations for host threads are in host.h.
// Source: PTX ISA 9.0, sections "ld", "st", "griddepcontrol", "Memory Consistency Model".
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/device/call.h"
#include "kernels/device/payload.h"
#include "kernels/device/stream.h"

namespace nodecomm::kernels {

struct GpuMachine {
  static constexpr uint32_t kTurnsPerCheck = 2048;

  // One 16-byte atom, seen by peers whole or not at all; orders nothing else.
  static __device__ __forceinline__ void StorePacket(std::byte* address, const Packet& packet) {
    const uint64_t low = packet.word[0] | static_cast<uint64_t>(packet.word[1]) << 32;
    const uint64_t high = packet.word[2] | static_cast<uint64_t>(packet.word[3]) << 32;
    asm volatile(
        "{ .reg .b128 packet;\n"
        "  mov.b128 packet, {%1, %2};\n"
        "  st.relaxed.sys.global.b128 [%0], packet; }" ::"l"(address),
        "l"(low), "l"(high)
        : "memory");
  }
  static __device__ __forceinline__ Packet LoadPacket(const std::byte* address) {
    uint64_t low;
    uint64_t high;
    asm volatile(
        "{ .reg .b128 packet;\n"
        "  ld.relaxed.sys.global.b128 packet, [%2];\n"
        "  mov.b128 {%0, %1}, packet; }"
        : "=l"(low), "=l"(high)
        : "l"(address)
        : "memory");
    return {{static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32),
             static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)}};
  }
  // If `wanted`; without a branch, so that several go out together.
  static __device__ __forceinline__ void LoadPacketIf(bool wanted, const std::byte* address,
                                                      Packet* packet) {
    uint64_t low = packet->word[0] | static_cast<uint64_t>(packet->word[1]) << 32;
    uint64_t high = packet->word[2] | static_cast<uint64_t>(packet->word[3]) << 32;
    asm volatile(
        "{ .reg .pred wanted;\n"
        "  .reg .b128 packet;\n"
        "  setp.ne.u32 wanted, %3, 0;\n"
        "  mov.b128 packet, {%0, %1};\n"
        "  @wanted ld.relaxed.sys.global.b128 packet, [%2];\n"
        "  mov.b128 {%0, %1}, packet; }"
        : "+l"(low), "+l"(high)
        : "l"(address), "r"(wanted ? 1u : 0u)
        : "memory");
    *packet = {{static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32),
                static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)}};
  }

  static __device__ __forceinline__ uint32_t LoadRelaxed(const uint32_t* word) {
    uint32_t value;
    asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
    return value;
  }
  static __device__ __forceinline__ uint32_t LoadAcquire(const uint32_t* word) {
    uint32_t value;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
    return value;
  }
  static __device__ __forceinline__ void StoreRelaxed(uint32_t* word, uint32_t value) {
    asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
  }
  static __device__ __forceinline__ void StoreRelaxed(uint64_t* word, uint64_t value) {
    asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(word), "l"(value) : "memory");
  }
  static __device__ __forceinline__ void StoreRelease(uint32_t* word, uint32_t value) {
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
  }
  // What this thread, or who told it so in this block, did to this GPU's own memory comes before
  // what it tells other GPUs afterwards: of that memory no GPU sees anything but by this one's L2
  // cache. What was done to other GPUs' memory need not: a fence of the system's scope waits for
  // that too, and stops the thread for microseconds while the links are full (kernels/README.md,
  // "strict fences").
  static __device__ __forceinline__ void FenceOwnMemory() {
    asm volatile("fence.acq_rel.gpu;" ::: "memory");
  }
  static __device__ __forceinline__ void StoreBehindFence(uint32_t* word, uint32_t value) {
    StoreRelaxed(word, value);
  }
  // 8 bytes, whole or not at all.
  static __device__ __forceinline__ EpochPair LoadRelaxed(const EpochPair* pair) {
    uint64_t value;
    asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(pair) : "memory");
    return {static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32)};
  }
  // Its two halves of 8 bytes are as they were at some moment each.
  static __device__ __forceinline__ BlockState LoadRelaxed(const BlockState* state) {
    uint64_t low;
    uint64_t high;
    asm volatile("ld.relaxed.sys.global.v2.u64 {%0, %1}, [%2];"
                 : "=l"(low), "=l"(high)
                 : "l"(state)
                 : "memory");
    return {.epoch = {static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32)},
            .poison = static_cast<uint32_t>(high),
            .reserved = 0};
  }
  // Zeros if not `wanted`; without a branch, so that several go out together.
  static __device__ __forceinline__ EpochPair LoadRelaxedIf(bool wanted, const EpochPair* pair) {
    uint64_t value;
    asm volatile(
        "{ .reg .pred wanted;\n"
        "  setp.ne.u32 wanted, %2, 0;\n"
        "  mov.u64 %0, 0;\n"
        "  @wanted ld.relaxed.sys.global.u64 %0, [%1]; }"
        : "=l"(value)
        : "l"(pair), "r"(wanted ? 1u : 0u)
        : "memory");
    return {static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32)};
  }
  // As a plain load, zeros if not `wanted`. Without a branch, and where it stands: left alone, the
  // assembler puts it behind the use of what is loaded after it, one latency later.
  static __device__ __forceinline__ Payload LoadPayloadIf(bool wanted, const std::byte* at) {
    Payload payload;
    asm volatile(
        "{ .reg .pred wanted;\n"
        "  setp.ne.u32 wanted, %5, 0;\n"
        "  mov.u32 %0, 0;\n"
        "  mov.u32 %1, 0;\n"
        "  mov.u32 %2, 0;\n"
        "  mov.u32 %3, 0;\n"
        "  @wanted ld.global.v4.u32 {%0, %1, %2, %3}, [%4]; }"
        : "=&r"(payload.word[0]), "=&r"(payload.word[1]), "=&r"(payload.word[2]),
          "=&r"(payload.word[3])
        : "l"(at), "r"(wanted ? 1u : 0u)
        : "memory");
    return payload;
  }
  static __device__ __forceinline__ void StoreRelaxed(EpochPair* pair, EpochPair value) {
    asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(pair), "l"(BitsOf(value)) : "memory");
  }
  // Puts `epoch` where the last one that began stands, and returns what stood there. Of the GPU's
  // scope: nobody but kernels of this GPU touches a pair while one runs.
  static __device__ __forceinline__ uint32_t ExchangeBegun(EpochPair* pair, uint32_t epoch) {
    uint32_t old;
    asm volatile("atom.relaxed.gpu.global.exch.b32 %0, [%1], %2;"
                 : "=r"(old)
                 : "l"(&pair->begun), "r"(epoch)
                 : "memory");
    return old;
  }
  static __device__ __forceinline__ bool ClaimOnce(uint32_t* word) {
    return atomicExch_system(word, 1u) == 0;
  }

  // Of this thread's warp, those that are at this place with it. Each of them has to come to the
  // same Meet, AllOf and LargestOf, as often.
  struct Threads {
    uint32_t mask;
  };
  static __device__ __forceinline__ Threads Together() { return {__activemask()}; }
  static __device__ __forceinline__ void Meet(Threads together) { __syncwarp(together.mask); }
  static __device__ __forceinline__ bool AllOf(Threads together, bool mine) {
    return __all_sync(together.mask, mine ? 1 : 0) != 0;
  }
  static __device__ __forceinline__ int LargestOf(Threads together, int mine) {
    return __reduce_max_sync(together.mask, mine);
  }
  static __device__ __forceinline__ bool AllOf(Alone /*group*/, bool mine) { return mine; }
  static __device__ __forceinline__ int LargestOf(Alone /*group*/, int mine) { return mine; }

  // Nothing: the loads of the next turn take longer than any pause would be worth.
  static __device__ __forceinline__ void Pause() {}
  static __device__ __forceinline__ uint64_t NowNs() {
    uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
  }

  // Bit by bit: a sum that is not a number is one pattern, whichever numbers went in (PTX ISA,
  // "add").
  static constexpr bool kAddCommutes = true;
  static __device__ __forceinline__ float FloatOf(uint32_t bits) { return __uint_as_float(bits); }
  static __device__ __forceinline__ uint32_t BitsOf(float value) { return __float_as_uint(value); }
  static __device__ __forceinline__ float Float16ToFloat(uint16_t half) {
    return __half2float(__ushort_as_half(half));
  }
  static __device__ __forceinline__ uint32_t PackFloat16(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
  static __device__ __forceinline__ uint32_t PackBfloat16(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }

  // A thread takes one packet of a launch that is not streamed.
  static constexpr bool kOnePacketALane = true;

  // Everything that earlier kernels on the stream did is visible after this, also where this kernel
  // was started before they ended.
  static __device__ __forceinline__ void WaitForEarlierKernels() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  }
  // The next kernel of the stream may be put beside this one, to wait there for its end. It happens
  // once every block has said so, by any of its threads, or has ended.
  static __device__ __forceinline__ void AllowNextKernel() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
  }

  // The value, which is not zero, is computed here and kept in a register: left alone, the
  // compilers compute addresses where they are used, behind the waits that they could have been
  // ready for. Both, PTX's assembler too, put no wait in front of what may end the kernel.
  static __device__ __forceinline__ void KeepReady(uint64_t& offset) {
    asm volatile(
        "{ .reg .pred is_zero;\n"
        "  setp.eq.u64 is_zero, %0, 0;\n"
        "  @is_zero exit; }"
        : "+l"(offset));
  }

  static __device__ __forceinline__ uint32_t BlockIndex() { return blockIdx.x; }
  // True for one thread of the block, of the last that call this for a chunk of this epoch: what
  // all did before is visible to it, and to whom it tells by a release. Holds nobody up, so a
  // thread that has exited is missed by nobody. Threads of a warp that come together count
  // together: one by one, 512 additions to one word of shared memory take microseconds. They may
  // come for different chunks, since who has waited for long is out of step with the others.
  static __device__ __forceinline__ bool IsLastOfBlock(uint32_t epoch) {
    uint32_t* count = &Counts()[epoch % kChunksApartMax];
    if (!CountsLast(count, __match_any_sync(__activemask(), epoch))) return false;
    *static_cast<volatile uint32_t*>(count) = 0;
    return true;
  }
  // What any thread of the block did before comes before what any of them does afterwards, for
  // everybody.
  static __device__ __forceinline__ void FenceBlock() {
    __threadfence_system();
    __syncthreads();
  }
  // By every thread, before the block's first barrier and before any of them may end.
  static __device__ __forceinline__ void ClearCounts() {
    if (threadIdx.x <= kChunksApartMax) Counts()[threadIdx.x] = 0;
  }
  // Those of this block, and of blocks that this grid does not have.
  static __device__ __forceinline__ void ClearCredits(PlaneCredits* credits) {
    for (uint32_t block = blockIdx.x + gridDim.x * (threadIdx.x / kWorldSizeMax);
         block < kBlocksMax; block += gridDim.x * (blockDim.x / kWorldSizeMax)) {
      StoreRelaxed(&credits->finished[block][threadIdx.x % kWorldSizeMax], 0);
    }
  }

  // A block looks at its own word and at those of blocks that this grid does not have and whose
  // index is its own modulo the grid; its threads share the latter out.
  static __device__ __forceinline__ FoundState FindState(const PlaneHeader* header,
                                                         bool with_others) {
    FoundState found = {.own = LoadRelaxed(&header->block[blockIdx.x]), .others_differ = false};
    if (!with_others) return found;
    // Most grids have a thread for each.
    if (gridDim.x * blockDim.x >= kBlocksMax) [[likely]] {
      found.others_differ = OthersDiffer<1>(header, found.own.epoch);
    } else {
      found.others_differ = OthersDiffer<kBlocksMax / kGridThreadsMin>(header, found.own.epoch);
    }
    return found;
  }
  static __device__ __forceinline__ void AdvanceEpochs(PlaneHeader* header, uint32_t epoch) {
    __syncthreads();
    for (uint32_t word = blockIdx.x + threadIdx.x * gridDim.x; word < kBlocksMax;
         word += gridDim.x * blockDim.x) {
      StoreRelaxed(&header->block[word].epoch, {epoch, epoch});
    }
  }
  // The same, but that the block's own has only begun. False: what began last is not what was
  // found, which the block's first warp finds out. All of it: a thread that left alone could be
  // made to wait for the others of its warp, and these for packets that never come.
  static __device__ __forceinline__ bool TakeEpoch(PlaneHeader* header, uint32_t found,
                                                   uint32_t epoch) {
    __syncthreads();
    for (uint32_t word = OtherWord(0); word < kBlocksMax; word += gridDim.x * blockDim.x) {
      StoreRelaxed(&header->block[word].epoch, {epoch, epoch});
    }
    bool is_next = true;
    if (threadIdx.x == 0) {
      is_next = ExchangeBegun(&header->block[blockIdx.x].epoch, epoch) == found;
    }
    return __all_sync(0xffffffffu, is_next ? 1 : 0) != 0;
  }
  // Once all of the block's threads have come here. No barrier: that would be for whole warps,
  // whose threads come at different times.
  static __device__ __forceinline__ void EndEpoch(PlaneHeader* header, uint32_t epoch) {
    if (CountsLast(&Counts()[kChunksApartMax], __activemask())) {
      StoreRelaxed(&header->block[blockIdx.x].epoch, {epoch, epoch});
    }
  }

 private:
  // Whether one of the first `kWords` pairs that this thread looks at, beside its block's own,
  // differs from that.
  template <int kWords>
  static __device__ __forceinline__ bool OthersDiffer(const PlaneHeader* header, EpochPair own) {
    EpochPair other[kWords];
    // All loads in flight together, then all checks: one latency.
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const uint32_t word = OtherWord(i);
      other[i] = LoadRelaxedIf(word < kBlocksMax, &header->block[word].epoch);
    }
    bool differ = false;
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const bool differs = other[i].begun != own.begun || other[i].ended != own.begun;
      differ |= OtherWord(i) < kBlocksMax && differs;
    }
    return differ;
  }
  // Counts the threads of a warp that are here `together`. True for one of them, if the count is
  // the block's then: what all did before they counted is visible to it.
  static __device__ __forceinline__ bool CountsLast(uint32_t* count, uint32_t together) {
    __syncwarp(together);
    const uint32_t lane = threadIdx.x % 32;
    if (lane != static_cast<uint32_t>(__ffs(static_cast<int>(together)) - 1)) return false;
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(count));
    const auto arrived = static_cast<uint32_t>(__popc(together));
    uint32_t before;
    asm volatile("atom.acq_rel.cta.shared::cta.add.u32 %0, [%1], %2;"
                 : "=r"(before)
                 : "r"(address), "r"(arrived)
                 : "memory");
    return before + arrived == blockDim.x;
  }
  // How many threads of this block have finished: by epoch, with the chunks that are under way, and
  // behind these, with all of the launch.
  static __device__ __forceinline__ uint32_t* Counts() {
    __shared__ uint32_t counts[kChunksApartMax + 1];
    return counts;
  }
  static __device__ __forceinline__ uint64_t BitsOf(EpochPair pair) {
    return pair.begun | static_cast<uint64_t>(pair.ended) << 32;
  }
  static __device__ __forceinline__ uint32_t OtherWord(int i) {
    return blockIdx.x + (threadIdx.x + 1 + static_cast<uint32_t>(i) * blockDim.x) * gridDim.x;
  }
};

}  // namespace nodecomm::kernels
