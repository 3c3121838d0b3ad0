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

std::optional<int> UserLogLimit::Take(uid_t uid, SteadyTime now) {
  const bool may = rate_.Take(uid, now);
  absl::MutexLock lock(&mu_);
  if (!may) {
    ++left_out_[uid];
    return std::nullopt;
  }
  const auto left_out = left_out_.extract(uid);
  return left_out.empty() ? 0 : left_out.mapped();
}

std::string LeftOut(int lines) {
  return lines == 0 ? "" : absl::StrCat("; ", lines, " more since the last such line");
}

}  // namespace nodecomm
