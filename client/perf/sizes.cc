// See sizes.h.
#include "client/perf/sizes.h"

#include <charconv>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"

namespace nodecomm::perf {
namespace {

// The number that a suffix multiplies by; 0: unknown.
size_t SuffixFactor(absl::string_view suffix) {
  const std::string upper = absl::AsciiStrToUpper(suffix);
  if (upper.empty() || upper == "B") return 1;
  const absl::string_view rest = absl::string_view(upper).substr(1);
  if (!rest.empty() && rest != "B" && rest != "IB") return 0;
  switch (upper[0]) {
    case 'K':
      return size_t{1} << 10;
    case 'M':
      return size_t{1} << 20;
    case 'G':
      return size_t{1} << 30;
    default:
      return 0;
  }
}

absl::Status CheckRange(const Options& options) {
  if (options.bytes_min > options.bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the table begins at %d bytes and ends at %d: -b must not be above -e",
                        options.bytes_min.value, options.bytes_max.value));
  }
  if (options.step_factor && *options.step_factor < 2) {
    return absl::InvalidArgumentError("--step-factor must be at least 2");
  }
  for (const nodecomm_type type : options.types) {
    if (options.bytes_min.value >= TypeBytes(type)) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("%d bytes hold no element of %s: raise -b to %d at least",
                        options.bytes_min.value, TypeName(type), TypeBytes(type)));
  }
  return absl::OkStatus();
}

// The sizes of a range that was found good, once a type.
std::vector<Case> ListSizes(const Options& options) {
  std::vector<Case> sizes;
  const auto add = [&](nodecomm_type type, size_t bytes) {
    if (bytes > options.bytes_max.value) return;
    const Case c{type, bytes / TypeBytes(type)};
    // Rounded down, a midpoint can be the size before it.
    if (!sizes.empty() && sizes.back().type == type && sizes.back().count == c.count) return;
    sizes.push_back(c);
  };
  for (const nodecomm_type type : options.types) {
    for (size_t bytes = options.bytes_min.value; bytes <= options.bytes_max.value;
         bytes *= options.step_factor.value_or(2)) {
      add(type, bytes);
      if (options.sweep && !options.step_factor) add(type, bytes + bytes / 2);
    }
  }
  return sizes;
}

}  // namespace

absl::StatusOr<ByteCount> ParseBytes(absl::string_view text) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const size_t factor = SuffixFactor(text.substr(end - text.data()));
  if (error != std::errc() || factor == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("\"%s\" is no size: give bytes, or a number with K, M or G", text));
  }
  if (number > kMessageBytesMax.value / factor) {
    return absl::InvalidArgumentError(absl::StrFormat("\"%s\" is more than 4G", text));
  }
  return ByteCount{number * factor};
}

absl::StatusOr<nodecomm_type> ParseType(absl::string_view text) {
  const std::string name = absl::AsciiStrToLower(text);
  if (name == "float" || name == "float32" || name == "fp32" || name == "f32") {
    return NODECOMM_FLOAT32;
  }
  if (name == "half" || name == "float16" || name == "fp16" || name == "f16") {
    return NODECOMM_FLOAT16;
  }
  if (name == "bf16" || name == "bfloat16") return NODECOMM_BFLOAT16;
  return absl::InvalidArgumentError(
      absl::StrFormat("\"%s\" is no element type: use f32, f16 or bf16", text));
}

std::string FormatBytes(ByteCount bytes) {
  constexpr struct {
    size_t bytes;
    const char* name;
  } kUnits[] = {{size_t{1} << 30, "GiB"}, {size_t{1} << 20, "MiB"}, {size_t{1} << 10, "KiB"}};
  for (const auto& unit : kUnits) {
    if (bytes.value < unit.bytes || bytes.value % (unit.bytes / 2) != 0) continue;
    const bool half = bytes.value % unit.bytes != 0;
    return absl::StrFormat("%d%s %s", bytes.value / unit.bytes, half ? ".5" : "", unit.name);
  }
  return absl::StrFormat("%d B", bytes.value);
}

absl::StatusOr<std::vector<Case>> ListCases(const Options& options) {
  ABSL_RETURN_IF_ERROR(CheckRange(options));
  const std::vector<Case> sizes = ListSizes(options);
  if (sizes.empty() || sizes.size() > kSizesMax) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a run has 1 to %d sizes, this one would have %d", kSizesMax, sizes.size()));
  }
  std::vector<nodecomm_algorithm> algorithms{options.algorithm};
  if (options.sweep) {
    algorithms = {NODECOMM_ALGORITHM_AUTO, NODECOMM_ALGORITHM_ONE_SHOT,
                  NODECOMM_ALGORITHM_TWO_SHOT};
  }
  std::vector<Case> cases;
  for (const nodecomm_algorithm algorithm : algorithms) {
    for (Case c : sizes) {
      c.requested = algorithm;
      cases.push_back(c);
    }
  }
  return cases;
}

}  // namespace nodecomm::perf
