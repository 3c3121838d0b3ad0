#include "kernels/all_reduce_kernels.cuh"

namespace nodecomm::kernels {

template const void* FindKernelOfType<ElementType::kFloat32>(const Plan&, bool, Code, WorldSize);

}  // namespace nodecomm::kernels
