#include "kernels/all_reduce_kernels.cuh"

namespace nodecomm::kernels {

template const void* FindKernelOfType<ElementType::kBfloat16>(Algorithm, bool, Code, WorldSize);

}  // namespace nodecomm::kernels
