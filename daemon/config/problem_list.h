// Collects what is wrong with a file of protobuf text, each problem with its place in the file and
// the field. Not a parser: protobuf's parser reports its errors here, and the checks of values add
// theirs. Design note: daemon/README.md, "configuration".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"

namespace nodecomm {

// One thread.
class ProblemList : public google::protobuf::io::ErrorCollector {
 public:
  // `type` is the message that the file as a whole describes. All three outlive the list.
  ProblemList(std::string_view file, std::string_view text,
              const google::protobuf::Descriptor* type)
      : file_(file), text_(text), type_(type) {}

  // Where protobuf's parser writes down the places of the fields.
  google::protobuf::TextFormat::ParseInfoTree* locations() { return &locations_; }

  // `field` as in "pool.plane_bytes" or, the second of a repeated field, "gpu_access[1]". Its place
  // is named if the file sets it.
  void Add(std::string_view field, std::string_view what);

  // protobuf's parser: lines and columns from 0.
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override;

  // InvalidArgument with one line for each problem, OK if there is none.
  absl::Status ToStatus() const;

 private:
  std::string Place(std::string_view field) const;

  std::string_view file_;
  std::string_view text_;
  const google::protobuf::Descriptor* type_;
  google::protobuf::TextFormat::ParseInfoTree locations_;
  std::vector<std::string> problems_;
};

}  // namespace nodecomm
