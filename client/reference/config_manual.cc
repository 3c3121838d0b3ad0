// A program of the build: the manual page of the daemon's configuration file, from the schema and
// its comments. Reads a descriptor set with source info (protoc --include_source_info) and writes
// roff. Not installed.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <fstream>
#include <iostream>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/base/version.h"

namespace nodecomm {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

std::string Roff(const std::string& text) {
  return absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}, {"\n.", "\n\\&."}});
}

// The comment above a field.
std::string CommentOf(const FieldDescriptor& field) {
  google::protobuf::SourceLocation location;
  if (!field.GetSourceLocation(&location)) return "";
  std::string comment = location.leading_comments;
  absl::StripAsciiWhitespace(&comment);
  return absl::StrReplaceAll(comment, {{"\n ", "\n"}});
}

// False: a field has no comment, which the page can't do without.
bool PrintFields(const Descriptor& message, const std::string& prefix) {
  bool complete = true;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const std::string name = absl::StrCat(prefix, field.name());
    const bool nests = field.type() == FieldDescriptor::TYPE_MESSAGE;
    const std::string comment = CommentOf(field);
    if (comment.empty() && !nests) {
      std::cerr << field.full_name() << " has no comment\n";
      complete = false;
    }
    std::cout << ".TP\n\\fB" << Roff(name) << "\\fR"
              << (nests ? " {...}" : absl::StrCat(" (", field.type_name(), ")"))
              << (field.is_repeated() ? ", may be repeated" : "") << "\n"
              << (comment.empty() ? "See below." : Roff(comment)) << "\n";
    if (nests) complete &= PrintFields(*field.message_type(), absl::StrCat(name, "."));
  }
  return complete;
}

int Main(int argc, char** argv) {
  google::protobuf::FileDescriptorSet set;
  std::ifstream file(argc == 2 ? argv[1] : "");
  if (!set.ParseFromIstream(&file)) {
    std::cerr << "usage: config_manual DESCRIPTOR_SET\n";
    return 2;
  }
  google::protobuf::DescriptorPool pool;
  for (const auto& proto : set.file()) pool.BuildFile(proto);
  const Descriptor* config = pool.FindMessageTypeByName("nodecomm.v1.DaemonConfig");
  if (config == nullptr) return 1;
  std::cout
      << ".TH NODECOMMD.TEXTPROTO 5 \"\" \"nodecomm " << kVersion << "\"\n"
      << ".SH NAME\nnodecommd.textproto \\- configuration of nodecommd\n"
      << ".SH DESCRIPTION\nThe file that \\fBnodecommd \\-\\-config\\fR reads, in the text "
         "format of protocol buffers: \\fIname: value\\fR, or \\fIname { ... }\\fR for a group of "
         "fields; "
         "\\fB#\\fR begins a comment. A field that is not set has its default. What is unknown "
         "or out of bounds is an error with its line; \\fBnodecommd \\-\\-check\\-config\\fR finds "
         "it. "
         "\\fBnodecommctl config show\\fR prints what is in force. A running daemon takes some "
         "fields when it is reloaded (SIGHUP), the others when it is restarted: the file that is "
         "installed, /etc/nodecomm/nodecommd.textproto, marks each with [reload] or [restart].\n"
      << ".SH FIELDS\n";
  if (!PrintFields(*config, "")) return 1;
  std::cout << ".SH EXAMPLE\n.nf\nlog_level: \"info\"\npool { planes_ready: 4 }\nmetrics { port: "
               "9464 }\n.fi\n.SH SEE ALSO\nnodecommd(8), nodecommctl(1)\n";
  return std::cout.flush().good() ? 0 : 1;
}

}  // namespace
}  // namespace nodecomm

int main(int argc, char** argv) { return nodecomm::Main(argc, argv); }
