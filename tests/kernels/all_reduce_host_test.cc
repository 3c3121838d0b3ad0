#include "tests/kernels/all_reduce_conformance.h"
#include "tests/kernels/host_rank_group.h"

namespace nodecomm::kernels {
namespace {

INSTANTIATE_TEST_SUITE_P(Host, AllReduceConformance, testing::Values(&MakeHostRankGroup));

}  // namespace
}  // namespace nodecomm::kernels
