// See files.h.
#include "client/perf/files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_format.h"

namespace nodecomm::perf {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "r");
  std::string text(kFileBytesMax + 1, '\0');
  const size_t length = file != nullptr ? std::fread(text.data(), 1, text.size(), file) : 0;
  const bool read = file != nullptr && std::ferror(file) == 0;
  const int error = errno;
  if (file != nullptr) std::fclose(file);
  if (!read) {
    return absl::NotFoundError(absl::StrFormat("reading %s: %s", path, std::strerror(error)));
  }
  if (length > kFileBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s is longer than %d bytes", path, kFileBytesMax));
  }
  text.resize(length);
  return text;
}

absl::Status CheckWritable(const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "a");
  if (file != nullptr && std::fclose(file) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrFormat("writing %s: %s", path, std::strerror(errno)));
}

absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  bool written = file != nullptr && std::fputs(text.c_str(), file) >= 0;
  if (file != nullptr && std::fclose(file) != 0) written = false;
  if (written) return absl::OkStatus();
  return absl::InternalError(absl::StrFormat("writing %s: %s", path, std::strerror(errno)));
}

}  // namespace nodecomm::perf
