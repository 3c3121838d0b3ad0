#include "daemon/config/reload.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "daemon/config/config_message.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/text_format.h"
#include "nodecomm/v1/config.pb.h"

namespace nodecomm {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

// What TakeReloaded copies.
constexpr std::array kReloaded = {
    std::string_view("log_level"),
    std::string_view("pool.bytes_per_gpu_per_uid_max"),
    std::string_view("group.rendezvous_timeout_ms"),
    std::string_view("group.allow_pci"),
    std::string_view("group.disable_fast_path"),
    std::string_view("group.drain_timeout_ms"),
    std::string_view("limits.groups_max"),
    std::string_view("limits.groups_per_uid_max"),
    std::string_view("peer_access.allow_unproven"),
    std::string_view("gpu_access"),
};

void TakeReloaded(const Config& fresh, Config& config) {
  config.log_level = fresh.log_level;
  config.pool.bytes_per_gpu_per_uid_max = fresh.pool.bytes_per_gpu_per_uid_max;
  config.group.rendezvous_timeout = fresh.group.rendezvous_timeout;
  config.group.allow_pci = fresh.group.allow_pci;
  config.group.disable_fast_path = fresh.group.disable_fast_path;
  config.group.drain_timeout = fresh.group.drain_timeout;
  config.limits.groups_max = fresh.limits.groups_max;
  config.limits.groups_per_uid_max = fresh.limits.groups_per_uid_max;
  config.peer_access.allow_unproven = fresh.peer_access.allow_unproven;
  config.gpu_users = fresh.gpu_users;
}

std::string ValueText(const Message& message, const FieldDescriptor* field) {
  TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  if (!field->is_repeated()) {
    if (!message.GetReflection()->HasField(message, field)) return "";
    printer.PrintFieldValueToString(message, field, -1, &text);
    return text;
  }
  for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
    std::string value;
    printer.PrintFieldValueToString(message, field, i, &value);
    absl::StrAppend(&text, text.empty() ? "" : ", ", "{ ", value, "}");
  }
  return text;
}

// All settings of both, whatever they are called: a new field of the schema needs nothing here.
void Compare(const Message& in_force, const Message& fresh, const std::string& prefix,
             ConfigChanges& changes) {
  const Descriptor* const type = in_force.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* const field = type->field(i);
    const std::string name = absl::StrCat(prefix, field->name());
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_repeated()) {
      Compare(in_force.GetReflection()->GetMessage(in_force, field),
              fresh.GetReflection()->GetMessage(fresh, field), absl::StrCat(name, "."), changes);
      continue;
    }
    ConfigChange change{
        .field = name, .before = ValueText(in_force, field), .after = ValueText(fresh, field)};
    if (change.before == change.after) continue;
    (IsReloaded(name) ? changes.taken : changes.waiting).push_back(std::move(change));
  }
}

}  // namespace

bool IsReloaded(const std::string& field) {
  return std::find(kReloaded.begin(), kReloaded.end(), field) != kReloaded.end();
}

ConfigChanges CompareConfigs(const Config& in_force, const Config& fresh) {
  ConfigChanges changes;
  changes.config = in_force;
  TakeReloaded(fresh, changes.config);
  Compare(ToMessage(in_force), ToMessage(fresh), "", changes);
  return changes;
}

std::string ConfigText(const Config& config) {
  std::string text;
  TextFormat::PrintToString(ToMessage(config), &text);
  return text;
}

}  // namespace nodecomm
