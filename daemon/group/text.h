// Words of the groups' error messages.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "client/base/quantities.h"

namespace nodecomm {

// "rank 2", or "ranks 0, 2".
std::string RankList(std::span<const Rank> ranks);

// "rank 2 (process 4711)".
std::string RankAndProcess(Rank rank, pid_t pid);

// "group 'tp'", with what is not printable escaped.
std::string GroupLabel(std::string_view name);

// The beginning of `text`, of at most `bytes_max` bytes, that ends between two characters.
std::string_view CutUtf8(std::string_view text, size_t bytes_max);

}  // namespace nodecomm
