// The element types of an all-reduce, and their conversion to and from float32 on the host.
// Not the device's conversions: kernels/device/element.h chooses between those and these.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nodecomm::kernels {

enum class ElementType { kFloat32, kFloat16, kBfloat16 };

constexpr size_t ElementBytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

}  // namespace nodecomm::kernels
