#include "tests/gpu/gpu_rank_group.h"
#include "tests/kernels/all_reduce_conformance.h"

namespace nodecomm::kernels {
namespace {

INSTANTIATE_TEST_SUITE_P(Gpu, AllReduceConformance, testing::Values(&MakeGpuRankGroup));

}  // namespace
}  // namespace nodecomm::kernels
