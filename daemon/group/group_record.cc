#include "daemon/group/group_record.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/quantities.h"
#include "client/base/status_macros.h"
#include "daemon/files/small_file.h"

namespace nodecomm {
namespace {

constexpr char kPrefix[] = "group-";
constexpr char kSuffix[] = ".record";
constexpr size_t kRecordBytesMax = 64 << 10;
constexpr size_t kRecordsMax = 65536;  // as limits.groups_max at most

std::string PathOf(const std::string& dir, uint64_t generation) {
  return absl::StrFormat("%s/%s%016x%s", dir, kPrefix, generation, kSuffix);
}

std::optional<uint64_t> GenerationOf(std::string_view name) {
  uint64_t generation = 0;
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(sizeof(kPrefix) - 1);
  if (!absl::SimpleHexAtoi(absl::string_view(name.data(), name.size()), &generation)) {
    return std::nullopt;
  }
  return generation;
}

// Want of descriptors or memory, or an error of the disk; not a file that is none of ours.
bool MayBeReadLater(const std::string& path, const absl::Status& status) {
  struct stat info = {};
  return !absl::IsInvalidArgument(status) && lstat(path.c_str(), &info) == 0 &&
         S_ISREG(info.st_mode);
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
  std::unique_ptr<GroupRecordFile> file(
      new GroupRecordFile(dir.empty() ? "" : PathOf(dir, record.generation())));
  ABSL_RETURN_IF_ERROR(file->Write(record));
  return file;
}

std::unique_ptr<GroupRecordFile> GroupRecordFile::Adopt(const std::string& dir,
                                                        uint64_t generation) {
  std::unique_ptr<GroupRecordFile> file(new GroupRecordFile(PathOf(dir, generation)));
  file->Keep();
  return file;
}

GroupRecordFile::~GroupRecordFile() {
  if (!kept_ && !path_.empty()) unlink(path_.c_str());
}

absl::Status GroupRecordFile::Write(const v1::GroupRecord& record) {
  if (path_.empty()) return absl::OkStatus();
  return ReplaceSmallFile(path_, record.SerializeAsString());
}

bool GroupRecordFile::IsLost() const {
  return !path_.empty() && access(path_.c_str(), F_OK) != 0 && errno == ENOENT;
}

absl::StatusOr<v1::GroupRecord> ParseGroupRecord(const std::string& bytes) {
  v1::GroupRecord record;
  if (!record.ParseFromString(bytes)) {
    return absl::InvalidArgumentError("a group record that cannot be parsed");
  }
  ABSL_RETURN_IF_ERROR(Check(record));
  return record;
}

absl::StatusOr<FoundGroups> ReadGroupRecords(const std::string& dir) {
  FoundGroups found;
  RemoveUnfinished(dir);
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                        ListSmallFiles(dir, kSuffix, kRecordsMax));
  for (const std::string& name : names) {
    const std::string path = absl::StrFormat("%s/%s%s", dir, name, kSuffix);
    const absl::StatusOr<std::string> bytes = ReadSmallFile(path, kRecordBytesMax);
    const std::optional<uint64_t> generation = GenerationOf(name);
    if (!bytes.ok() && generation.has_value() && MayBeReadLater(path, bytes.status())) {
      found.unread.emplace(*generation, bytes.status());
      continue;
    }
    absl::StatusOr<v1::GroupRecord> record = bytes.ok() ? ParseGroupRecord(*bytes) : bytes.status();
    if (record.ok() && PathOf(dir, record->generation()) != path) {
      record = absl::InvalidArgumentError("the record of another group");
    }
    if (!record.ok()) {
      const std::string removed = RemoveOrSetAside(path);
      const bool named = generation.has_value() && PathOf(dir, *generation) == path;
      found.damaged.push_back(
          {.path = path,
           .generation = named ? *generation : 0,
           .why = absl::Status(
               record.status().code(),
               absl::StrCat(std::string(record.status().message()), "; it ", removed))});
      continue;
    }
    found.records.push_back(*std::move(record));
  }
  std::sort(found.records.begin(), found.records.end(),
            [](const auto& a, const auto& b) { return a.generation() < b.generation(); });
  return found;
}

}  // namespace nodecomm
