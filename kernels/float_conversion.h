// 16-bit floating point to and from float32 on the host, rounding to nearest, ties to even, as GPUs
// do. Not used on the device, which has instructions for it (device/gpu.cuh).
#pragma once

#include <cstdint>

namespace nodecomm::kernels {

float Float16ToFloat(uint16_t half);
uint16_t FloatToFloat16(float value);
// NaN becomes 0x7fff, as on the device.
uint16_t FloatToBfloat16(float value);

}  // namespace nodecomm::kernels
