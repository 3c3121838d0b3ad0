#include "tests/gpu/sum_pattern.h"

#include "tests/kernels/reference.h"

namespace nodecomm {
namespace {

constexpr size_t kBlockElements = 65537;

kernels::ElementType ToElementType(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return kernels::ElementType::kFloat32;
    case DataType::kFloat16:
      return kernels::ElementType::kFloat16;
    case DataType::kBfloat16:
      return kernels::ElementType::kBfloat16;
  }
  return kernels::ElementType::kFloat32;
}

}  // namespace

size_t ElementBytes(DataType type) { return kernels::ElementBytes(ToElementType(type)); }

SumPattern::SumPattern(DataType type, int ranks) {
  const kernels::ElementType element = ToElementType(type);
  for (int rank = 0; rank < ranks; ++rank) {
    inputs.push_back(
        kernels::MakeInput(element, kBlockElements, Rank{rank}, 1, kernels::Density::kDense));
  }
  sums = kernels::ReferenceSum(element, inputs);
  sums_of_sums = kernels::ReferenceSum(
      element, std::vector<std::vector<uint8_t>>(static_cast<size_t>(ranks), sums));
}

std::vector<uint8_t> Repeat(const std::vector<uint8_t>& block, size_t bytes) {
  std::vector<uint8_t> repeated(bytes);
  for (size_t begin = 0; begin < bytes; begin += block.size()) {
    std::memcpy(repeated.data() + begin, block.data(), std::min(block.size(), bytes - begin));
  }
  return repeated;
}

}  // namespace nodecomm
