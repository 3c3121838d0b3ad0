#include "client/reference/runtime_dir_option.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/base/utf8.h"

namespace nodecomm {

void AddRuntimeDirOption(CLI::App& app, std::string& path, const std::string& description) {
  // No check() of CLI11's: where one refuses a variable of the environment, CLI11 2.4 goes on
  // without.
  const auto take = [&path](const CLI::results_t& results) {
    if (!results.front().starts_with('/')) {
      throw CLI::ValidationError("--runtime-dir",
                                 absl::StrCat("'", results.front(), "' is not an absolute path"));
    }
    if (!IsUtf8(results.front())) {
      throw CLI::ValidationError(
          "--runtime-dir", absl::StrCat("'", absl::CEscape(results.front()), "' is not UTF-8"));
    }
    path = results.front();
    return true;
  };
  app.add_option("--runtime-dir", take, description)
      ->envname("NODECOMM_RUNTIME_DIR")
      ->type_name("DIR")
      ->default_str(path);
}

}  // namespace nodecomm
