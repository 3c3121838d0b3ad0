#include "daemon/proof/proofs_text.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include "absl/strings/str_format.h"

namespace nodecomm {
namespace {

// Keeps the first error; without a collector protobuf writes them to standard error.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (text_.empty())
      text_ = absl::StrFormat("line %d, column %d: %s", line + 1, column + 1, message);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

absl::StatusOr<v1::PeerProofs> ParseProofs(const std::string& text) {
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  v1::PeerProofs proofs;
  if (!parser.ParseFromString(text, &proofs)) {
    return absl::InvalidArgumentError(error.text().empty() ? "no proofs" : error.text());
  }
  return proofs;
}

std::string PrintProofs(const v1::PeerProofs& proofs) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(proofs, &text);
  return text;
}

}  // namespace nodecomm
