#include "daemon/group/group_record.h"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_format.h"
#include "client/base/quantities.h"
#include "client/base/status_macros.h"
#include "daemon/files/small_file.h"

namespace nodecomm {
namespace {

constexpr char kSuffix[] = ".record";
constexpr size_t kRecordBytesMax = 64 << 10;
constexpr size_t kRecordsMax = 65536;  // as limits.groups_max at most

std::string PathOf(const std::string& dir, uint64_t generation) {
  return absl::StrFormat("%s/group-%016x%s", dir, generation, kSuffix);
}

absl::Status Check(const v1::GroupRecord& record) {
  const int ranks = record.members_size();
  if (record.generation() == 0 || record.name().empty() || ranks < 1 || ranks > kWorldSizeMax) {
    return absl::InvalidArgumentError("a group record without generation, name or members");
  }
  for (int rank = 0; rank < ranks; ++rank) {
    const v1::MemberRecord& member = record.members(rank);
    if (member.request().rank() != rank || member.request().world_size() != ranks) {
      return absl::InvalidArgumentError("a group record whose ranks are out of order");
    }
  }
  std::set<uint64_t> sequences;
  for (const v1::SharedBufferRecord& buffer : record.shared()) {
    if (buffer.held_by() == 0 || buffer.held_by() >> ranks != 0 ||
        !sequences.insert(buffer.sequence()).second) {
      return absl::InvalidArgumentError("a group record with an impossible shared buffer");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<GroupRecordFile>> GroupRecordFile::Create(
    const std::string& dir, const v1::GroupRecord& record) {
  std::unique_ptr<GroupRecordFile> file(new GroupRecordFile(PathOf(dir, record.generation())));
  ABSL_RETURN_IF_ERROR(file->Write(record));
  return file;
}

GroupRecordFile::~GroupRecordFile() { unlink(path_.c_str()); }

absl::Status GroupRecordFile::Write(const v1::GroupRecord& record) {
  return ReplaceSmallFile(path_, record.SerializeAsString());
}

absl::StatusOr<v1::GroupRecord> ParseGroupRecord(const std::string& bytes) {
  v1::GroupRecord record;
  if (!record.ParseFromString(bytes)) {
    return absl::InvalidArgumentError("a group record that cannot be parsed");
  }
  ABSL_RETURN_IF_ERROR(Check(record));
  return record;
}

std::vector<v1::GroupRecord> ReadGroupRecords(const std::string& dir) {
  std::vector<v1::GroupRecord> records;
  for (const std::string& name : ListSmallFiles(dir, kSuffix, kRecordsMax)) {
    const std::string path = absl::StrFormat("%s/%s%s", dir, name, kSuffix);
    const absl::StatusOr<std::string> bytes = ReadSmallFile(path, kRecordBytesMax);
    absl::StatusOr<v1::GroupRecord> record = bytes.ok() ? ParseGroupRecord(*bytes) : bytes.status();
    if (!record.ok() || PathOf(dir, record->generation()) != path) {
      unlink(path.c_str());
      continue;
    }
    records.push_back(*std::move(record));
  }
  std::sort(records.begin(), records.end(),
            [](const auto& a, const auto& b) { return a.generation() < b.generation(); });
  return records;
}

}  // namespace nodecomm
