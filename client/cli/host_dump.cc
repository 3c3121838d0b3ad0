#include "client/cli/host_dump.h"

#include <google/protobuf/text_format.h>

#include "absl/strings/str_cat.h"

namespace nodecomm {
namespace {

constexpr char kHead[] =
    "# A host as nodecommd read it; `nodecommd --simulate FILE` makes one like it.\n"
    "# proto-file: nodecomm/v1/topology.proto\n"
    "# proto-message: nodecomm.v1.Host\n\n";

}  // namespace

std::string DumpHost(const v1::Host& host) {
  v1::Host complete = host;
  for (v1::Gpu& gpu : *complete.mutable_gpus()) {
    if (gpu.mig_mode() == v1::MIG_MODE_UNSPECIFIED) gpu.set_mig_mode(v1::MIG_MODE_UNKNOWN);
    if (gpu.fabric_state() == v1::FABRIC_STATE_UNSPECIFIED) {
      gpu.set_fabric_state(v1::FABRIC_STATE_UNKNOWN);
    }
  }
  for (v1::Link& link : *complete.mutable_links()) {
    if (link.kind() == v1::LINK_KIND_UNSPECIFIED) link.set_kind(v1::LINK_KIND_UNKNOWN);
    if (link.peer_access() == v1::PEER_ACCESS_UNSPECIFIED) {
      link.set_peer_access(v1::PEER_ACCESS_UNKNOWN);
    }
    if (link.pci_distance() == v1::PCI_DISTANCE_UNSPECIFIED) {
      link.set_pci_distance(v1::PCI_DISTANCE_UNKNOWN);
    }
  }
  std::string text;
  google::protobuf::TextFormat::PrintToString(complete, &text);
  return absl::StrCat(kHead, text);
}

}  // namespace nodecomm
