// The element types of an all-reduce.
// Not their conversion to and from float32: float_conversion.h on the host,
// device/gpu.cuh on the device.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nodecomm::kernels {

enum class ElementType { kFloat32, kFloat16, kBfloat16 };

constexpr size_t ElementBytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

}  // namespace nodecomm::kernels
