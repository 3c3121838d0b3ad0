// The machine of the GPU: every PTX instruction that the protocols use, wrapped once and named.
// Not the protocols. The same operations for host threads are in host.h.
// Source: PTX ISA 9.0, sections "ld", "st", "griddepcontrol", "Memory Consistency Model".
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/device/call.h"

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
  static __device__ __forceinline__ void StoreRelease(uint32_t* word, uint32_t value) {
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
  }
  static __device__ __forceinline__ bool ClaimOnce(uint32_t* word) {
    return atomicExch_system(word, 1u) == 0;
  }

  // Nothing: the loads of the next turn take longer than any pause would be worth.
  static __device__ __forceinline__ void Pause() {}
  static __device__ __forceinline__ uint64_t NowNs() {
    uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
  }

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

  // Everything that earlier kernels on the stream did is visible after this, also where this kernel
  // was started before they ended.
  static __device__ __forceinline__ void WaitForEarlierKernels() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  }
  static __device__ __forceinline__ void AdvanceEpochs(PlaneHeader* header, uint32_t epoch) {
    __syncthreads();
    for (uint32_t word = blockIdx.x + threadIdx.x * gridDim.x; word < kBlocksMax;
         word += gridDim.x * blockDim.x) {
      StoreRelaxed(&header->epoch[word], epoch);
    }
  }
};

}  // namespace nodecomm::kernels
