// What the host's GPUs are and how they are linked: the interface behind which NVML and text files
// differ. Not a proof that peer access works. Two implementations, held to the same tests:
// NvmlInventory, FileInventory.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

class Inventory {
 public:
  virtual ~Inventory() = default;

  // The host as it is now. One unknown fact is unknown in the answer, never a failure of the whole.
  // Thread-safe.
  virtual absl::StatusOr<v1::Host> Read() = 0;

  // "nvml", or the file's path.
  virtual std::string Source() const = 0;
};

// Loads libnvidia-ml.so.1 at run time. NotFound: there is no such library (no NVIDIA driver on this
// host).
absl::StatusOr<std::unique_ptr<Inventory>> CreateNvmlInventory();

// Reads protobuf text (v1.Host). InvalidArgument: names file, line and field; also for facts that
// contradict each other (a link to a GPU that is not there, an ordered pair twice or missing, a
// UUID twice).
absl::StatusOr<std::unique_ptr<Inventory>> CreateFileInventory(std::string path);

// The same of a text; `path` is for messages only.
absl::StatusOr<v1::Host> ParseHost(const std::string& path, const std::string& text);

}  // namespace nodecomm
