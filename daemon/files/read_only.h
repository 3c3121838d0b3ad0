// Descriptors of the daemon's own files for strangers to read. A descriptor that is open for
// reading can be opened again for writing, by way of /proc, by whoever the file's mode lets write:
// its owner, which a worker of uid 0 is of root's files, and whoever has CAP_DAC_OVERRIDE. Opened
// through a mount that is read-only it cannot. Not a protection from the host's administrator.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/base/unique_fd.h"

namespace nodecomm {

// Close-on-exec. Through a mount that the daemon makes (it needs CAP_SYS_ADMIN, and Linux 5.12) or
// one that it was given: the parent of `dir`, read-only, beside itself as PARENT.read-only. Where
// there is neither, the file is opened as it is. ResourceExhausted: no descriptor or mount is to be
// had now.
absl::StatusOr<UniqueFd> OpenForStrangers(const std::string& dir, const std::string& name);

// Whether strangers get files of this directory through a read-only mount.
bool IsReadOnlyForStrangers(const std::string& dir);

// Where the second mount of the parent of `dir` is looked for.
std::string ReadOnlyViewOf(const std::string& dir);

}  // namespace nodecomm
