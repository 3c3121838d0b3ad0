#include "client/cli/topology_words.h"

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "client/cli/text_table.h"

namespace nodecomm {
namespace {

// Domain, bus, device, function. nvidia-smi writes 00000000:43:00.0, sysfs and CUDA 0000:43:00.0,
// lspci 43:00.0 on a host that has one domain, and the kernel's log leaves out the function.
using PciPlace = std::array<uint32_t, 4>;

std::optional<PciPlace> ParsePciPlace(const std::string& text) {
  std::vector<std::string> fields = absl::StrSplit(text, ':');
  if (fields.size() == 2) fields.insert(fields.begin(), "0");
  if (fields.size() != 3) return std::nullopt;
  const std::vector<std::string> last = absl::StrSplit(fields[2], '.');
  if (last.size() > 2) return std::nullopt;
  fields[2] = last[0];
  fields.push_back(last.size() == 2 ? last[1] : "0");
  PciPlace place;
  for (size_t i = 0; i < place.size(); ++i) {
    if (!absl::SimpleHexAtoi(fields[i], &place[i])) return std::nullopt;
  }
  return place;
}

bool IsAt(const v1::Gpu& gpu, const std::string& name) {
  const std::optional<PciPlace> place = ParsePciPlace(name);
  return place.has_value() && place == ParsePciPlace(gpu.pci_bus_id());
}

// "3", or "GPU3" as in our own tables. What has more digits is the beginning of a UUID; what has
// few is none, or an index that is not there would take whichever GPU's UUID begins so.
std::optional<int> ParseIndex(const std::string& name) {
  constexpr size_t kDigitsMax = 3;
  absl::string_view digits = name;
  if (absl::StartsWithIgnoreCase(digits, "GPU")) digits.remove_prefix(3);
  int index = 0;
  if (digits.size() > kDigitsMax || digits.empty() || !absl::ascii_isdigit(digits[0]) ||
      !absl::SimpleAtoi(digits, &index)) {
    return std::nullopt;
  }
  return index;
}

bool IsNamed(const v1::Gpu& gpu, const std::string& name) {
  return absl::EqualsIgnoreCase(gpu.uuid(), name) ||
         absl::EqualsIgnoreCase(gpu.pci_bus_id(), name) || IsAt(gpu, name) ||
         absl::StartsWithIgnoreCase(gpu.uuid(), name) ||
         absl::StartsWithIgnoreCase(gpu.uuid(), absl::StrCat("GPU-", name));
}

std::string ListOfGpus(const v1::Host& host) {
  std::string list;
  for (int i = 0; i < host.gpus_size(); ++i) {
    absl::StrAppend(&list, "\n  ", i, "  ", RenderForeign(host.gpus(i).uuid()), "  ",
                    RenderForeign(host.gpus(i).pci_bus_id()));
  }
  return list;
}

}  // namespace

std::string OrNotAvailable(const std::string& text) {
  return text.empty() ? std::string(kNotAvailableSign) : RenderForeign(text);
}

std::string GpuLabel(int index) { return absl::StrCat("GPU", index); }

absl::StatusOr<int> FindGpuNamed(const v1::Host& host, const std::string& name) {
  const std::optional<int> index = ParseIndex(name);
  std::vector<int> found;
  for (int i = 0; i < host.gpus_size() && !name.empty(); ++i) {
    if (index.has_value() ? i == *index : IsNamed(host.gpus(i), name)) found.push_back(i);
  }
  if (found.size() == 1) return found.front();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s GPU is named '%s'; name one by %s:%s", found.empty() ? "no" : "more than one",
      RenderForeign(name), kGpuForms, ListOfGpus(host)));
}

std::map<UuidPair, const v1::Link*> LinksOf(const v1::Host& host) {
  std::map<UuidPair, const v1::Link*> links;
  for (const v1::Link& link : host.links()) links[{link.from_uuid(), link.to_uuid()}] = &link;
  return links;
}

std::string DistanceWord(v1::PciDistance distance) {
  switch (distance) {
    case v1::PCI_DISTANCE_PIX:
      return "PIX";
    case v1::PCI_DISTANCE_PXB:
      return "PXB";
    case v1::PCI_DISTANCE_PHB:
      return "PHB";
    case v1::PCI_DISTANCE_NODE:
      return "NODE";
    case v1::PCI_DISTANCE_SYS:
      return "SYS";
    default:
      return kUnknownSign;
  }
}

std::string LinkSign(const v1::Link* link) {
  if (link == nullptr) return kUnknownSign;
  switch (link->kind()) {
    case v1::LINK_KIND_NVLINK:
    case v1::LINK_KIND_NVSWITCH:
      return link->nvlink_count() > 0 ? absl::StrCat("NV", link->nvlink_count()) : "NV?";
    case v1::LINK_KIND_PCI:
      return DistanceWord(link->pci_distance());
    default:
      return kUnknownSign;
  }
}

std::string LinkWord(const v1::Link* link) {
  if (link == nullptr) return "unknown";
  const std::string links =
      link->nvlink_count() > 0 ? Counted(link->nvlink_count(), "link") : "unknown number of links";
  switch (link->kind()) {
    case v1::LINK_KIND_NVLINK:
      return absl::StrCat("NVLink, ", links);
    case v1::LINK_KIND_NVSWITCH:
      return absl::StrCat("NVSwitch, ", links);
    case v1::LINK_KIND_PCI:
      return "PCIe";
    default:
      return "unknown";
  }
}

std::string AccessWord(v1::PeerAccess access) {
  if (access == v1::PEER_ACCESS_SUPPORTED) return "supported";
  return access == v1::PEER_ACCESS_NOT_SUPPORTED ? "not supported" : "unknown";
}

std::string MigWord(v1::MigMode mode) {
  if (mode == v1::MIG_MODE_ENABLED) return "on";
  return mode == v1::MIG_MODE_DISABLED ? "off" : kUnknownSign;
}

std::string FabricWord(v1::FabricState state) {
  switch (state) {
    case v1::FABRIC_STATE_NOT_SUPPORTED:
      return "none";
    case v1::FABRIC_STATE_NOT_STARTED:
      return "not started";
    case v1::FABRIC_STATE_IN_PROGRESS:
      return "in progress";
    case v1::FABRIC_STATE_COMPLETED:
      return "completed";
    default:
      return kUnknownSign;
  }
}

std::string EccWord(v1::EccMode mode) {
  switch (mode) {
    case v1::ECC_MODE_ENABLED:
      return "on";
    case v1::ECC_MODE_DISABLED:
      return "off";
    case v1::ECC_MODE_NOT_SUPPORTED:
      return "none";
    default:
      return kUnknownSign;
  }
}

std::string VerdictWord(v1::ProofVerdict verdict) {
  switch (verdict) {
    case v1::PROOF_VERDICT_PROVEN:
      return "proven";
    case v1::PROOF_VERDICT_FAILED:
      return "FAILED";
    default:
      return "unproven";
  }
}

v1::DrainState DrainStateOf(const Drains& drains, const std::string& gpu_uuid) {
  for (const v1::GpuDrain& drain : drains) {
    if (drain.gpu_uuid() == gpu_uuid) return drain.state();
  }
  return v1::DRAIN_STATE_UNSPECIFIED;
}

std::string ConditionWord(const v1::Gpu& gpu, const Drains& drains) {
  if (gpu.condition() == v1::GPU_CONDITION_UNSPECIFIED) return "";
  std::string word = gpu.condition() == v1::GPU_CONDITION_LOST ? "lost" : "draining";
  if (DrainStateOf(drains, gpu.uuid()) == v1::DRAIN_STATE_DRAINED) {
    word = "drained";
    // The daemon's reason begins with that word.
    if (gpu.condition_reason().starts_with(word)) return RenderForeign(gpu.condition_reason());
  }
  return gpu.condition_reason().empty()
             ? word
             : absl::StrCat(word, ": ", RenderForeign(gpu.condition_reason()));
}

std::string GoneGpu(const std::string& gpu_uuid) {
  const std::string uuid = RenderForeign(gpu_uuid);
  return absl::StrFormat(
      "%s was drained, and this host has it no more: nodecommctl undrain --gpu %s forgets it", uuid,
      uuid);
}

}  // namespace nodecomm
