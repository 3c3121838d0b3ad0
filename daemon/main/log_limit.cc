#include "daemon/main/log_limit.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace nodecomm {

std::optional<int> LogLimit::Take(SteadyTime now) {
  absl::MutexLock lock(&mu_);
  if (now >= second_ends_) {
    second_ends_ = now + absl::Seconds(1);
    lines_ = 0;
  }
  if (lines_ >= lines_max_) {
    ++left_out_;
    return std::nullopt;
  }
  ++lines_;
  return std::exchange(left_out_, 0);
}

std::string LeftOut(int lines) {
  return lines == 0 ? "" : absl::StrCat("; ", lines, " more since the last such line");
}

}  // namespace nodecomm
