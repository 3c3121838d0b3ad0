// The checks of daemon/topology/host_validation.h.
// Not the parser: that is daemon/topology/file_inventory.cc.
// Design note: daemon/topology/README.md, "files".
#include "daemon/topology/host_validation.h"

#include <cstddef>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/gpu_uuid.h"
#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

using ParseInfoTree = google::protobuf::TextFormat::ParseInfoTree;
using Pair = std::pair<std::string_view, std::string_view>;

bool IsKnown(v1::LinkKind kind) { return kind != v1::LINK_KIND_UNKNOWN; }
bool IsKnown(v1::PciDistance distance) {
  return distance != v1::PCI_DISTANCE_UNKNOWN && distance != v1::PCI_DISTANCE_UNSPECIFIED;
}

class Validator {
 public:
  Validator(const v1::Host& host, const std::string& path, const ParseInfoTree& locations)
      : host_(host), path_(path), locations_(locations) {}

  absl::Status Run() {
    if (host_.gpus().empty())
      return absl::InvalidArgumentError(path_ + ":1:1: gpus: there is none");
    for (int i = 0; i < host_.gpus_size(); ++i) ABSL_RETURN_IF_ERROR(CheckGpu(i));
    for (int i = 0; i < host_.links_size(); ++i) ABSL_RETURN_IF_ERROR(CheckLink(i));
    ABSL_RETURN_IF_ERROR(CheckEveryPairHasLink());
    return CheckBothDirectionsAgree();
  }

 private:
  // At element `index` of the list `list`, at its `field` if that is in the text.
  absl::Status Error(const char* list, int index, const char* field, std::string_view what) const {
    const auto* list_field = v1::Host::descriptor()->FindFieldByName(list);
    auto place = locations_.GetLocation(list_field, index);
    const ParseInfoTree* element = locations_.GetTreeForNested(list_field, index);
    const auto* leaf_field = list_field->message_type()->FindFieldByName(field);
    if (element != nullptr && leaf_field != nullptr) {
      const auto leaf = element->GetLocation(leaf_field, -1);
      if (leaf.line >= 0) place = leaf;
    }
    return absl::InvalidArgumentError(absl::StrFormat("%s:%d:%d: %s[%d].%s: %s", path_,
                                                      place.line + 1, place.column + 1, list, index,
                                                      field, what));
  }

  absl::Status CheckGpu(int i) {
    const v1::Gpu& gpu = host_.gpus(i);
    if (!IsGpuUuid(gpu.uuid())) {
      return Error("gpus", i, "uuid",
                   absl::StrFormat("\"%s\" is no GPU UUID; it must look like \"%s\"", gpu.uuid(),
                                   kGpuUuidExample));
    }
    if (!uuids_.insert(gpu.uuid()).second) {
      return Error("gpus", i, "uuid", absl::StrCat("a second GPU with UUID ", gpu.uuid()));
    }
    if (!gpu.pci_bus_id().empty() && !pci_bus_ids_.insert(gpu.pci_bus_id()).second) {
      return Error("gpus", i, "pci_bus_id", absl::StrCat("a second GPU at ", gpu.pci_bus_id()));
    }
    if (gpu.compute_capability_major() < 0 || gpu.compute_capability_minor() < 0) {
      return Error("gpus", i, "compute_capability_major", "is negative");
    }
    if (gpu.has_numa_node() && gpu.numa_node() < 0) {
      return Error("gpus", i, "numa_node", "is negative; leave it out if it is unknown");
    }
    if (!v1::MigMode_IsValid(gpu.mig_mode())) {
      return Error("gpus", i, "mig_mode", absl::StrCat("no such value: ", gpu.mig_mode()));
    }
    if (!v1::FabricState_IsValid(gpu.fabric_state())) {
      return Error("gpus", i, "fabric_state", absl::StrCat("no such value: ", gpu.fabric_state()));
    }
    return absl::OkStatus();
  }

  absl::Status CheckLink(int i) {
    const v1::Link& link = host_.links(i);
    if (!uuids_.contains(link.from_uuid())) {
      return Error("links", i, "from_uuid", absl::StrFormat("no GPU \"%s\"", link.from_uuid()));
    }
    if (!uuids_.contains(link.to_uuid())) {
      return Error("links", i, "to_uuid", absl::StrFormat("no GPU \"%s\"", link.to_uuid()));
    }
    if (link.from_uuid() == link.to_uuid()) {
      return Error("links", i, "to_uuid", "a link from a GPU to itself");
    }
    if (!links_.emplace(Pair(link.from_uuid(), link.to_uuid()), i).second) {
      return Error(
          "links", i, "to_uuid",
          absl::StrFormat("a second link from %s to %s", link.from_uuid(), link.to_uuid()));
    }
    return CheckLinkValues(i, link);
  }

  absl::Status CheckLinkValues(int i, const v1::Link& link) const {
    if (link.kind() == v1::LINK_KIND_UNSPECIFIED || !v1::LinkKind_IsValid(link.kind())) {
      return Error("links", i, "kind", "must be set (LINK_KIND_UNKNOWN if it is not known)");
    }
    if (link.peer_access() == v1::PEER_ACCESS_UNSPECIFIED ||
        !v1::PeerAccess_IsValid(link.peer_access())) {
      return Error("links", i, "peer_access",
                   "must be set (PEER_ACCESS_UNKNOWN if it is not known)");
    }
    if (!v1::PciDistance_IsValid(link.pci_distance())) {
      return Error("links", i, "pci_distance",
                   absl::StrCat("no such value: ", link.pci_distance()));
    }
    if (link.nvlink_count() < 0) return Error("links", i, "nvlink_count", "is negative");
    if (link.kind() == v1::LINK_KIND_PCI && link.nvlink_count() != 0) {
      return Error("links", i, "nvlink_count", "must be 0 for LINK_KIND_PCI");
    }
    return absl::OkStatus();
  }

  absl::Status CheckEveryPairHasLink() const {
    for (int i = 0; i < host_.gpus_size(); ++i) {
      for (const v1::Gpu& to : host_.gpus()) {
        const std::string& from = host_.gpus(i).uuid();
        if (from == to.uuid() || links_.contains(Pair(from, to.uuid()))) continue;
        return Error("gpus", i, "uuid",
                     absl::StrFormat("links has no entry from %s to %s; every ordered pair of GPUs "
                                     "needs one",
                                     from, to.uuid()));
      }
    }
    return absl::OkStatus();
  }

  // Kind and distance, where known, are the same both ways. Counts may differ (a lane may be down
  // at one end), and so may peer access.
  absl::Status CheckBothDirectionsAgree() const {
    for (int i = 0; i < host_.links_size(); ++i) {
      const v1::Link& there = host_.links(i);
      const v1::Link& back = host_.links(links_.at(Pair(there.to_uuid(), there.from_uuid())));
      if (there.kind() != back.kind() && IsKnown(there.kind()) && IsKnown(back.kind())) {
        return Error(
            "links", i, "kind",
            absl::StrFormat("%s from %s to %s, but %s back", v1::LinkKind_Name(there.kind()),
                            there.from_uuid(), there.to_uuid(), v1::LinkKind_Name(back.kind())));
      }
      if (there.pci_distance() != back.pci_distance() && IsKnown(there.pci_distance()) &&
          IsKnown(back.pci_distance())) {
        return Error("links", i, "pci_distance",
                     absl::StrFormat("%s from %s to %s, but %s back",
                                     v1::PciDistance_Name(there.pci_distance()), there.from_uuid(),
                                     there.to_uuid(), v1::PciDistance_Name(back.pci_distance())));
      }
    }
    return absl::OkStatus();
  }

  const v1::Host& host_;
  const std::string& path_;
  const ParseInfoTree& locations_;
  // Views of strings in host_.
  std::set<std::string_view> uuids_;
  std::set<std::string_view> pci_bus_ids_;
  std::map<Pair, int> links_;  // index in host_.links
};

}  // namespace

absl::Status ValidateHost(const v1::Host& host, const std::string& path,
                          const google::protobuf::TextFormat::ParseInfoTree& locations) {
  return Validator(host, path, locations).Run();
}

}  // namespace nodecomm
