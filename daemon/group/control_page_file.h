// The daemon's end of a group's control page (proto/control_page.h): a file that only it can write.
// Not a memfd: one that was passed read-only can be opened again for writing by anybody; a 0600
// file cannot. Design note: daemon/group/README.md.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/base/quantities.h"
#include "client/base/unique_fd.h"
#include "proto/control_page.h"

namespace nodecomm {

// Who caused a stop; -1: nobody in particular.
struct Culprit {
  Rank rank{-1};
  pid_t pid = -1;
};

// One thread at a time.
class ControlPageFile {
 public:
  // Makes the file in `dir`, mode 0600, named by generation; one in memory, which members can
  // write, if `dir` is empty.
  static absl::StatusOr<std::unique_ptr<ControlPageFile>> Create(const std::string& dir,
                                                                 uint64_t generation);
  // The page that an earlier daemon made, to be kept until Own(). NotFound, InvalidArgument: there
  // is none, or it is not whole. One of which only the spare name is left has its own again.
  static absl::StatusOr<std::unique_ptr<ControlPageFile>> Reopen(const std::string& dir,
                                                                 uint64_t generation);
  // Ends the generation of a page that an earlier daemon made, whole or not: members that have
  // mapped this very file are told. A stop that stands there stays. The file stays, too. NotFound:
  // there is none.
  static absl::Status Stop(const std::string& dir, uint64_t generation, std::string_view reason);
  // Unlinks the pages in `dir` that are of none of these generations, and stops them first. Those
  // among them that a group worked with.
  static std::vector<uint64_t> RemoveAllBut(const std::string& dir,
                                            const std::set<uint64_t>& generations,
                                            std::string_view reason);

  static std::string PathOf(const std::string& dir, uint64_t generation);

  // Unlinks the file, unless it is to be kept; members keep what they have mapped.
  ~ControlPageFile();
  ControlPageFile(const ControlPageFile&) = delete;
  ControlPageFile& operator=(const ControlPageFile&) = delete;

  void Own() { kept_ = false; }
  void Keep() { kept_ = true; }

  // Opened read-only and close-on-exec; members get duplicates of it. Owned by this object.
  int member_fd() const { return member_fd_.get(); }

  const std::string& path() const { return path_; }
  // Somebody has removed the file, or put another in its place: a daemon that comes back does not
  // find the one that members have mapped.
  bool IsLost() const { return !path_.empty() && !IsAt(path_); }
  // Names the file again where it has one of its two names left. False: it has none.
  bool PutBack();

  // What somebody did who made the file shorter, for people; empty: it is whole. A member that
  // reads a page which the file does not have any more is ended by SIGBUS.
  std::string Cut() const;
  // Makes it whole again, as it was at first, for those who have not read it meanwhile.
  absl::Status Mend(uint64_t generation) { return WriteNew(generation); }

  // What stands in it.
  absl::StatusOr<ControlPage> Read() const;

  // Says that `rank` (below kWorldSizeMax) has left after completing `epoch`.
  absl::Status WriteLeft(Rank rank, uint32_t epoch);

  absl::Status WriteReady();

  // Ends the generation. A reason that is too long is cut; one that cannot be written is left out.
  absl::Status WriteStop(const Culprit& culprit, std::string_view reason);

 private:
  ControlPageFile(std::string path, std::string spare, UniqueFd fd)
      : path_(std::move(path)), spare_(std::move(spare)), fd_(std::move(fd)) {}
  static absl::StatusOr<std::unique_ptr<ControlPageFile>> Open(const std::string& dir,
                                                               uint64_t generation);
  bool IsAt(const std::string& path) const;
  void MakeSpare() const;
  // Whether a group worked with it and is now told the reason.
  static bool StopLeft(const std::string& dir, uint64_t generation, std::string_view reason);
  absl::Status OpenForMembers();
  // What stands in it, if that is a control page of this generation.
  absl::StatusOr<ControlPage> ReadWhole(uint64_t generation) const;
  absl::Status WriteNew(uint64_t generation);
  absl::Status WriteAt(size_t offset, const void* data, size_t bytes);

  std::string path_;
  // A second name of the file, which `rm groups/*` leaves: no system call names a file again that
  // has lost its last one.
  std::string spare_;
  UniqueFd fd_;
  UniqueFd member_fd_;
  uint32_t left_mask_ = 0;
  bool kept_ = false;
};

}  // namespace nodecomm
