// Lines of cells in aligned columns, and the units that people read.
// Not a layout engine: cells are one line of text each, aligned to the left.
// Design note: client/cli/README.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/base/quantities.h"

namespace nodecomm {

using TextRow = std::vector<std::string>;

// Every row on a line, columns two spaces apart; no spaces at the ends of lines.
std::string RenderTable(const std::vector<TextRow>& rows);

// "0", "512 B", "36 MiB", "79.6 GiB".
std::string RenderBytes(ByteCount bytes);

// "0s", "2m3s", "26h0m1s": whole seconds.
std::string RenderDuration(absl::Duration duration);

// "1 session", "0 sessions", "8 GPUs"; of nouns that take an s.
std::string Counted(int64_t count, const std::string& noun);

// What a worker named, with control characters escaped, C1 and what is no UTF-8 included: the
// terminal of an administrator must not obey it.
std::string RenderForeign(const std::string& text);

}  // namespace nodecomm
