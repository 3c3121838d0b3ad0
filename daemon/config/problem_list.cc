#include "daemon/config/problem_list.h"

#include <charconv>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace nodecomm {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::TextFormat;

// protobuf says -1 when an error has no place.
std::string PlaceOf(std::string_view file, int line, int column) {
  if (line < 0) return std::string(file);
  return absl::StrFormat("%s:%d:%d", file, line + 1, column + 1);
}

// "gpu_access[1]": the second of a repeated field; without brackets, the index is -1.
struct FieldStep {
  std::string name;
  int index = -1;
};

FieldStep ParseStep(const std::string& text) {
  FieldStep step{.name = text.substr(0, text.find('['))};
  if (step.name.size() == text.size()) return step;
  std::from_chars(text.data() + step.name.size() + 1, text.data() + text.size(), step.index);
  return step;
}

// The text of a line, so that an error of the parser, which names only values, shows the field too.
// Empty if there is none.
std::string_view LineAt(std::string_view text, int line) {
  for (; line > 0; --line) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return "";
    text.remove_prefix(end + 1);
  }
  text = text.substr(0, text.find('\n'));
  const size_t first = text.find_first_not_of(" \t\r");
  return first == std::string_view::npos ? "" : text.substr(first);
}

}  // namespace

std::string ProblemList::Place(std::string_view field) const {
  const std::vector<std::string> names = absl::StrSplit(std::string(field), '.');
  const google::protobuf::Descriptor* type = type_;
  const TextFormat::ParseInfoTree* tree = &locations_;
  for (size_t i = 0; i + 1 < names.size() && tree != nullptr && type != nullptr; ++i) {
    const FieldStep step = ParseStep(names[i]);
    const FieldDescriptor* descriptor = type->FindFieldByName(step.name);
    if (descriptor == nullptr) return std::string(file_);
    type = descriptor->message_type();
    tree = tree->GetTreeForNested(descriptor, step.index);
  }
  const FieldStep last = ParseStep(names.back());
  const FieldDescriptor* descriptor = type == nullptr ? nullptr : type->FindFieldByName(last.name);
  if (tree == nullptr || descriptor == nullptr) return std::string(file_);
  const TextFormat::ParseLocation location = tree->GetLocation(descriptor, last.index);
  return PlaceOf(file_, location.line, location.column);
}

void ProblemList::Add(std::string_view field, std::string_view what) {
  problems_.push_back(absl::StrFormat("%s: field %s: %s", Place(field), field, what));
}

void ProblemList::AddError(int line, google::protobuf::io::ColumnNumber column,
                           const std::string& message) {
  std::string problem = absl::StrCat(PlaceOf(file_, line, column), ": ", message);
  if (const std::string_view source = LineAt(text_, line); !source.empty()) {
    absl::StrAppendFormat(&problem, " In: %s", source.substr(0, 200));
  }
  problems_.push_back(std::move(problem));
}

absl::Status ProblemList::ToStatus() const {
  if (problems_.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(problems_, "\n"));
}

}  // namespace nodecomm
