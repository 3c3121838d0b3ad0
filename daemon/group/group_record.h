// A group's record on disk (proto/nodecomm/v1/state.proto), by which a daemon that was killed and
// comes back goes on with the group. Not the control page, which members read: only the daemon
// reads this. Design note: daemon/README.md, "restart".
#pragma once

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
  // Writes it into `dir`, named by generation. ResourceExhausted: no space.
  static absl::StatusOr<std::unique_ptr<GroupRecordFile>> Create(const std::string& dir,
                                                                 const v1::GroupRecord& record);
  // Removes the file.
  ~GroupRecordFile();
  GroupRecordFile(const GroupRecordFile&) = delete;
  GroupRecordFile& operator=(const GroupRecordFile&) = delete;

  absl::Status Write(const v1::GroupRecord& record);

 private:
  explicit GroupRecordFile(std::string path) : path_(std::move(path)) {}

  const std::string path_;
};

// The records in `dir` that are whole and make sense, by generation; the files of the others are
// removed.
std::vector<v1::GroupRecord> ReadGroupRecords(const std::string& dir);

// InvalidArgument: nobody could have written this. What it says of GPUs is not checked.
absl::StatusOr<v1::GroupRecord> ParseGroupRecord(const std::string& bytes);

}  // namespace nodecomm
