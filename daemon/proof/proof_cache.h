// Proofs that outlive the daemon, in a file: for one boot of the kernel and one driver.
// Not a database: read at start, written whole after each run of proofs.
// Design note: daemon/proof/README.md, "cache".
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// The kernel's name for this boot.
absl::StatusOr<std::string> ReadBootId();

// NotFound: there is no such file; InvalidArgument: it holds something else, or is too long.
absl::StatusOr<v1::PeerProofs> ReadProofCache(const std::string& path);

// By a new file and rename, so that a reader finds the old proofs or the new ones.
absl::Status WriteProofCache(const std::string& path, const v1::PeerProofs& proofs);

// Those of `cached` that hold for this host as it is now: same boot, same driver, both GPUs still
// there; and of those the ones that say something of the hardware.
v1::PeerProofs StillValid(const v1::PeerProofs& cached, const std::string& boot_id,
                          const v1::Host& host);

}  // namespace nodecomm
