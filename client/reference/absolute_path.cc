#include "client/reference/absolute_path.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace nodecomm {

CLI::Validator AbsolutePath() {
  const auto check = [](const std::string& path) -> std::string {
    return path.starts_with('/') ? "" : absl::StrCat("'", path, "' is not an absolute path");
  };
  // Without a description, which would stand in the option's type.
  return CLI::Validator(check, "");
}

}  // namespace nodecomm
