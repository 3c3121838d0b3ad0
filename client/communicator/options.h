// What a communicator is made from, with the defaults and the checks that need neither daemon nor
// GPU. Not the C struct (nodecomm.h): c_api.cc turns that into this.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/base/quantities.h"
#include "kernels/selection.h"

namespace nodecomm::client {

struct CommunicatorOptions {
  static constexpr size_t kNameBytesMax = 128;
  static constexpr absl::Duration kTimeoutMax = absl::Hours(24);
  static constexpr absl::Duration kCallTimeoutDefault = absl::Seconds(30);

  std::string name;
  std::string key;  // empty, or NODECOMM_KEY_BYTES bytes
  WorldSize world_size;
  Rank rank;
  DeviceIndex device;
  ByteCount plane_bytes;  // 0: the daemon's default
  std::optional<kernels::Algorithm> algorithm;
  absl::Duration rendezvous_timeout;  // 0: the daemon's default
  absl::Duration call_timeout = kCallTimeoutDefault;
  std::string runtime_dir;
  bool checked = false;
};

// InvalidArgument: names the option, its value and what is allowed.
absl::Status Validate(const CommunicatorOptions& options);

// `chosen` if set, else NODECOMM_RUNTIME_DIR, else /run/nodecomm.
std::string RuntimeDir(const char* chosen);

// NODECOMM_DISABLE is set, to something other than "0".
bool DisabledByEnvironment();

// NODECOMM_CHECKED, likewise.
bool CheckedByEnvironment();

}  // namespace nodecomm::client
