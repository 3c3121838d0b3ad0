// The words and signs for facts of a topology, and where to find a fact. Not a layout.
// Design note: client/cli/README.md.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "client/base/quantities.h"
#include "nodecomm/v1/admin.pb.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

inline constexpr char kUnknownSign[] = "?";
inline constexpr char kNotAvailableSign[] = "N/A";

std::string OrNotAvailable(const std::string& text);

// "GPU3", the fourth of the host's list.
std::string GpuLabel(int index);

// For those who are to name one.
inline constexpr char kGpuForms[] =
    "index as nvidia-smi shows it, UUID or its beginning, or PCI bus id (00000000:43:00.0, "
    "0000:43:00.0, 43:00.0)";

// The index in the host's list of the GPU that somebody named by that index (3, GPU3), by UUID, by
// the beginning of a UUID that no other has (with or without "GPU-"), or by PCI bus id.
// InvalidArgument: none or several; the message lists what there is.
absl::StatusOr<int> FindGpuNamed(const v1::Host& host, const std::string& name);

// Facts by ordered pair of UUIDs. The message outlives the map.
using UuidPair = std::pair<std::string, std::string>;
std::map<UuidPair, const v1::Link*> LinksOf(const v1::Host& host);

// As in the matrix: "NV18", "PIX", "?".
std::string LinkSign(const v1::Link* link);
std::string LinkWord(const v1::Link* link);  // "NVSwitch, 18 links"
std::string DistanceWord(v1::PciDistance distance);
std::string AccessWord(v1::PeerAccess access);  // "supported", "not supported", "unknown"
std::string MigWord(v1::MigMode mode);
std::string FabricWord(v1::FabricState state);
std::string EccWord(v1::EccMode mode);
std::string VerdictWord(v1::ProofVerdict verdict);
// How far the GPU is out of service, as the answer's `drains` say; UNSPECIFIED if they do not.
using Drains = google::protobuf::RepeatedPtrField<v1::GpuDrain>;
v1::DrainState DrainStateOf(const Drains& drains, const std::string& gpu_uuid);
// "" if nothing is known against the GPU.
std::string ConditionWord(const v1::Gpu& gpu, const Drains& drains);
// Of GPUs that were drained and have left the host: what to do about each.
std::string GoneGpu(const std::string& gpu_uuid);

}  // namespace nodecomm
