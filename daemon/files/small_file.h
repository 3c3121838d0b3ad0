// Small files that outlive the daemon: read whole and bounded, replaced by rename, so that a reader
// finds the old content or the new and nothing between. Not synchronised to a disk: what the daemon
// keeps is of use until the host restarts.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace nodecomm {

// What the daemon wrote itself is never a link; what an administrator gives it may be one.
enum class Links { kRefused, kFollowed };

// NotFound and the like if it can't be read, InvalidArgument if it is longer than `bytes_max`
// or a pipe or a directory.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t bytes_max,
                                          Links links = Links::kRefused);

// Takes what has the name of a small file and is none out of the way; by another name if it is a
// directory with something in it, which only somebody else can have made. What became of it, as the
// end of a sentence.
std::string RemoveOrSetAside(const std::string& path);

// What the daemon keeps for itself is nobody else's to read.
enum class Readers { kOwner, kEverybody };

// Mode 0600 or 0644. ResourceExhausted: no space. One writer of `path` at a time.
absl::Status ReplaceSmallFile(const std::string& path, std::string_view content,
                              Readers readers = Readers::kOwner);

// As ErrnoToStatus, of a file that cannot be written; where its file system is full, with how much
// room there is.
absl::Status WriteErrorToStatus(int error, const std::string& what, const std::string& path);

// Removes what a process that was killed while it replaced a small file of `dir` left of the new
// one. Not while another writes there.
void RemoveUnfinished(const std::string& dir);

// The names in `dir` that end in `suffix`, without it, in no order; at most `count_max` of them. An
// error if not all can be told.
absl::StatusOr<std::vector<std::string>> ListSmallFiles(const std::string& dir,
                                                        std::string_view suffix, size_t count_max);

}  // namespace nodecomm
