// A group's record on disk (proto/nodecomm/v1/state.proto), by which a daemon that was killed and
// comes back goes on with the group. Not the control page, which members read: only the daemon
// reads this. Design note: daemon/README.md, "restart".
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nodecomm/v1/state.pb.h"

namespace nodecomm {

// One thread at a time.
class GroupRecordFile {
 public:
  // Writes it into `dir`, named by generation; nowhere if `dir` is empty. ResourceExhausted: no
  // space.
  static absl::StatusOr<std::unique_ptr<GroupRecordFile>> Create(const std::string& dir,
                                                                 const v1::GroupRecord& record);
  // The one that an earlier daemon wrote, to be kept until Own(). Touches nothing.
  static std::unique_ptr<GroupRecordFile> Adopt(const std::string& dir, uint64_t generation);
  // Removes the file, unless it is to be kept.
  ~GroupRecordFile();
  GroupRecordFile(const GroupRecordFile&) = delete;
  GroupRecordFile& operator=(const GroupRecordFile&) = delete;

  void Own() { kept_ = false; }
  void Keep() { kept_ = true; }

  absl::Status Write(const v1::GroupRecord& record);

  const std::string& path() const { return path_; }
  // Somebody has removed the file.
  bool IsLost() const;

 private:
  explicit GroupRecordFile(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  bool kept_ = false;
};

struct DamagedRecord {
  std::string path;
  uint64_t generation = 0;  // as the file's name has it; 0: it has none
  absl::Status why;
};
// The records in `dir`, or why they cannot be told. Files that were read and are no records are
// removed.
struct FoundGroups {
  std::vector<v1::GroupRecord> records;  // by generation
  // Generations of records that could not be read now, and why: they may be as good as the others.
  std::map<uint64_t, absl::Status> unread;
  std::vector<DamagedRecord> damaged;  // those that were removed
};
absl::StatusOr<FoundGroups> ReadGroupRecords(const std::string& dir);

// InvalidArgument: nobody could have written this. What it says of GPUs is not checked.
absl::StatusOr<v1::GroupRecord> ParseGroupRecord(const std::string& bytes);

}  // namespace nodecomm
