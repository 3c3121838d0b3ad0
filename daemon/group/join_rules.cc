#include "daemon/group/join_rules.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/group/text.h"

namespace nodecomm {
namespace {

absl::Status CheckIdentity(const v1::JoinGroupRequest& request) {
  if (request.name().empty() || request.name().size() > kGroupNameBytesMax) {
    return absl::InvalidArgumentError(absl::StrFormat("a group's name has 1 to %d bytes, not %d",
                                                      kGroupNameBytesMax, request.name().size()));
  }
  if (!request.key().empty() && request.key().size() != kGroupKeyBytes) {
    return absl::InvalidArgumentError(absl::StrFormat("a group's key has 0 or %d bytes, not %d",
                                                      kGroupKeyBytes, request.key().size()));
  }
  if (request.world_size() < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a world size of %d; it must be 1 or more", request.world_size()));
  }
  if (request.rank() < 0 || request.rank() >= request.world_size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("rank %d is out of range; a world size of %d has ranks 0 to %d",
                        request.rank(), request.world_size(), request.world_size() - 1));
  }
  return absl::OkStatus();
}

// NVML writes the domain with 8 digits, CUDA with 4; and letters of either case occur.
bool SamePciPlace(absl::string_view a, absl::string_view b) {
  constexpr size_t kShortForm = 12;  // 0000:18:00.0
  if (a.size() < kShortForm || b.size() < kShortForm) return false;
  return absl::EqualsIgnoreCase(a.substr(a.size() - kShortForm), b.substr(b.size() - kShortForm));
}

absl::Status CheckMemory(const v1::JoinGroupRequest& request, const v1::Host& host) {
  const bool known = std::any_of(host.gpus().begin(), host.gpus().end(), [&](const v1::Gpu& gpu) {
    return gpu.uuid() == request.gpu_uuid();
  });
  if (!known) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "rank %d names GPU '%s', which this host does not have; see nodecommctl topo",
        request.rank(), std::string(CutUtf8(request.gpu_uuid(), 64))));
  }
  if (request.plane_bytes() < kPlaneBytesUnit.value ||
      request.plane_bytes() % kPlaneBytesUnit.value != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "rank %d asks for planes of %u bytes; give a multiple of 2 MiB, or 0 for the default",
        request.rank(), request.plane_bytes()));
  }
  return absl::OkStatus();
}

absl::Status CheckHostHolds(WorldSize world_size, const v1::Host& host, GpuSharing sharing) {
  if (sharing == GpuSharing::kForbidden && world_size.value > host.gpus_size()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("this host has %d GPUs, so a group of %d ranks cannot be all on it; use "
                        "NCCL across hosts",
                        host.gpus_size(), world_size.value));
  }
  if (world_size.value > kWorldSizeMax) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "a group has at most %d ranks, not %d; use NCCL", kWorldSizeMax, world_size.value));
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status Disagreement(const char* what, const v1::JoinGroupRequest& a, const T& value_a,
                          const v1::JoinGroupRequest& b, const T& value_b) {
  return absl::FailedPreconditionError(absl::StrFormat(
      "the ranks of %s disagree on %s: rank %d says %s, rank %d says %s; start them with the same",
      GroupLabel(a.name()), what, a.rank(), absl::StrCat(value_a), b.rank(),
      absl::StrCat(value_b)));
}

}  // namespace

std::string ResolveGpu(const v1::JoinGroupRequest& request, const v1::Host& host) {
  for (const v1::Gpu& gpu : host.gpus()) {
    if (gpu.uuid() == request.gpu_uuid()) return gpu.uuid();
  }
  for (const v1::Gpu& gpu : host.gpus()) {
    if (gpu.mig_mode() == v1::MIG_MODE_ENABLED &&
        SamePciPlace(gpu.pci_bus_id(), request.pci_bus_id())) {
      return gpu.uuid();
    }
  }
  return request.gpu_uuid();
}

absl::Status CheckJoin(const v1::JoinGroupRequest& request, const v1::Host& host,
                       GpuSharing sharing) {
  if (absl::Status status = CheckIdentity(request); !status.ok()) return status;
  const WorldSize world_size{request.world_size()};
  // Before the GPU's UUID: a rank of another host would otherwise be told of an unknown GPU only.
  if (absl::Status status = CheckHostHolds(world_size, host, sharing); !status.ok()) return status;
  if (request.algorithm_override().size() > kAlgorithmNameBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("an algorithm's name has at most %d bytes, not %d", kAlgorithmNameBytesMax,
                        request.algorithm_override().size()));
  }
  if (request.pci_bus_id().size() > kPciBusIdBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a place on the PCI bus has at most %d bytes, not %d", kPciBusIdBytesMax,
                        request.pci_bus_id().size()));
  }
  return CheckMemory(request, host);
}

absl::Status CheckAgreement(const v1::JoinGroupRequest& there, const v1::JoinGroupRequest& newcomer,
                            GpuSharing sharing) {
  const auto& a = there;
  const auto& b = newcomer;
  if (a.world_size() != b.world_size()) {
    return Disagreement("the world size", a, a.world_size(), b, b.world_size());
  }
  if (a.plane_bytes() != b.plane_bytes()) {
    return Disagreement("the plane size in bytes", a, a.plane_bytes(), b, b.plane_bytes());
  }
  if (a.plane_abi() != b.plane_abi()) {
    return Disagreement("the plane layout (library versions)", a, a.plane_abi(), b, b.plane_abi());
  }
  if (a.algorithm_table() != b.algorithm_table()) {
    return Disagreement("the table of algorithms (library versions)", a, a.algorithm_table(), b,
                        b.algorithm_table());
  }
  if (a.algorithm_override() != b.algorithm_override()) {
    const std::string value_a = absl::StrFormat("'%s'", a.algorithm_override());
    const std::string value_b = absl::StrFormat("'%s'", b.algorithm_override());
    return Disagreement("the algorithm to use", a, value_a, b, value_b);
  }
  if (a.checked() != b.checked()) {
    const auto text = [](const v1::JoinGroupRequest& request) {
      return request.checked() ? "on" : "off";
    };
    return Disagreement("checked mode", a, text(a), b, text(b));
  }
  if (sharing == GpuSharing::kForbidden && a.gpu_uuid() == b.gpu_uuid()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("ranks %d and %d of %s are both on GPU %s; give each rank a GPU of its own",
                        std::min(a.rank(), b.rank()), std::max(a.rank(), b.rank()),
                        GroupLabel(a.name()), a.gpu_uuid()));
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Duration> RendezvousTimeout(int64_t timeout_ms, absl::Duration default_value) {
  if (timeout_ms == 0) return default_value;
  if (timeout_ms < 0 || absl::Milliseconds(timeout_ms) > kRendezvousTimeoutMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a timeout of %d ms; it must be 0 (the default) to %d ms", timeout_ms,
                        absl::ToInt64Milliseconds(kRendezvousTimeoutMax)));
  }
  return absl::Milliseconds(timeout_ms);
}

}  // namespace nodecomm
