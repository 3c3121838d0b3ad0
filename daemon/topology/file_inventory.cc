// Reads a host from protobuf text: for daemons that simulate one, and for tests.
// Not a schema check alone: what the file says must also be possible.
// Design note: daemon/topology/README.md, "files".
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/base/status_macros.h"
#include "daemon/files/small_file.h"
#include "daemon/topology/host_validation.h"
#include "daemon/topology/inventory.h"

namespace nodecomm {
namespace {

// Eight GPUs take 15 KiB; a file that is much larger is no topology.
constexpr size_t kFileBytesMax = 1 << 20;

// Keeps the first error: those after it follow from it.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  FirstError(std::string path, const std::string& text)
      : path_(std::move(path)), lines_(absl::StrSplit(text, '\n')) {}

  // Lines and columns count from 0 here; line -1: the file as a whole.
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (!status_.ok()) return;
    Correct(message, line, column);
    // Quoted, since the parser does not always name the field.
    const std::string quote =
        line < 0
            ? ""
            : absl::StrFormat(" (the line reads `%s`)",
                              absl::StripAsciiWhitespace(lines_.at(static_cast<size_t>(line))));
    status_ = absl::InvalidArgumentError(
        absl::StrFormat("%s:%d:%d: %s%s", path_, line + 1, column + 1, message, quote));
  }

  const absl::Status& status() const { return status_; }

 private:
  // The parser reports an unknown enum value at the token after it, which is often on the next
  // line.
  void Correct(const std::string& message, int& line, int& column) const {
    constexpr char kPrefix[] = "Unknown enumeration value of \"";
    if (!message.starts_with(kPrefix)) return;
    const size_t begin = sizeof(kPrefix) - 1;
    const std::string value = message.substr(begin, message.find('"', begin) - begin);
    for (int candidate = line; candidate >= 0; --candidate) {
      const size_t place = lines_.at(static_cast<size_t>(candidate)).find(value);
      if (place == std::string::npos) continue;
      line = candidate;
      column = static_cast<int>(place);
      return;
    }
  }

  const std::string path_;
  const std::vector<std::string> lines_;
  absl::Status status_;
};

class FileInventory : public Inventory {
 public:
  explicit FileInventory(std::string path) : path_(std::move(path)) {}

  // Anew each time: whoever simulates a host may let something happen to it.
  absl::StatusOr<v1::Host> Read() override {
    const absl::StatusOr<std::string> text = ReadSmallFile(path_, kFileBytesMax, Links::kFollowed);
    if (text.ok()) return ParseHost(path_, *text);
    return absl::Status(text.status().code(),
                        absl::StrCat("the topology: ", std::string(text.status().message())));
  }
  std::string Source() const override { return path_; }

 private:
  const std::string path_;
};

}  // namespace

absl::StatusOr<v1::Host> ParseHost(const std::string& path, const std::string& text) {
  FirstError errors(path, text);
  google::protobuf::TextFormat::ParseInfoTree locations;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.WriteLocationsTo(&locations);
  v1::Host host;
  if (!parser.ParseFromString(text, &host)) {
    if (!errors.status().ok()) return errors.status();
    return absl::InvalidArgumentError(absl::StrFormat("%s: not a nodecomm.v1.Host", path));
  }
  ABSL_RETURN_IF_ERROR(ValidateHost(host, path, locations));
  return host;
}

absl::StatusOr<std::unique_ptr<Inventory>> CreateFileInventory(std::string path) {
  auto inventory = std::make_unique<FileInventory>(std::move(path));
  ABSL_RETURN_IF_ERROR(inventory->Read().status());
  return inventory;
}

}  // namespace nodecomm
