#include "daemon/group/control_page_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "daemon/files/read_only.h"
#include "daemon/files/small_file.h"
#include "daemon/group/text.h"

namespace nodecomm {

namespace {

constexpr char kSuffix[] = ".control";
constexpr char kSpareSuffix[] = ".spare";
constexpr size_t kPagesMax = 65536;  // as limits.groups_max at most

std::string NameOf(uint64_t generation) { return absl::StrFormat("group-%016x", generation); }

std::string SpareOf(const std::string& dir, uint64_t generation) {
  return absl::StrFormat("%s/.%s%s", dir, NameOf(generation), kSpareSuffix);
}

// What had the name before has it no longer.
bool Link(const std::string& from, const std::string& to) {
  unlink(to.c_str());
  return link(from.c_str(), to.c_str()) == 0;
}

}  // namespace

std::string ControlPageFile::PathOf(const std::string& dir, uint64_t generation) {
  return absl::StrFormat("%s/%s%s", dir, NameOf(generation), kSuffix);
}

absl::StatusOr<std::unique_ptr<ControlPageFile>> ControlPageFile::Create(const std::string& dir,
                                                                         uint64_t generation) {
  std::string path = dir.empty() ? "" : PathOf(dir, generation);
  UniqueFd fd(path.empty()
                  ? memfd_create("control-page", MFD_CLOEXEC)
                  : open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) {
    return WriteErrorToStatus(errno, absl::StrFormat("creating the control page %s", path), path);
  }
  // From here on its destructor removes the file.
  std::unique_ptr<ControlPageFile> page(
      new ControlPageFile(std::move(path), SpareOf(dir, generation), std::move(fd)));
  ABSL_RETURN_IF_ERROR(page->WriteNew(generation));
  ABSL_RETURN_IF_ERROR(page->OpenForMembers());
  page->MakeSpare();
  return page;
}

absl::Status ControlPageFile::WriteNew(uint64_t generation) {
  // Written whole, so that later writes to it need no new memory and can't fail for want of it.
  alignas(ControlPage) std::array<char, kControlPageBytes> bytes = {};
  const ControlPage header = {.magic = kControlPageMagic,
                              .version = kControlPageVersion,
                              .generation = generation,
                              .stop = 0,
                              .left_mask = 0,
                              .left_epoch = {},
                              .culprit_rank = -1,
                              .culprit_pid = -1,
                              .reason = {},
                              .ready = 0};
  std::memcpy(bytes.data(), &header, sizeof(header));
  return WriteAt(0, bytes.data(), bytes.size());
}

absl::Status ControlPageFile::OpenForMembers() {
  if (path_.empty()) {
    member_fd_.Reset(fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
    if (member_fd_.valid()) return absl::OkStatus();
    return absl::ErrnoToStatus(errno, "duplicating a control page in memory");
  }
  const size_t slash = path_.rfind('/');
  ABSL_ASSIGN_OR_RETURN(member_fd_,
                        OpenForStrangers(path_.substr(0, slash), path_.substr(slash + 1)));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ControlPageFile>> ControlPageFile::Open(const std::string& dir,
                                                                       uint64_t generation) {
  std::string path = PathOf(dir, generation);
  std::string spare = SpareOf(dir, generation);
  // Without waiting: a member whose user the file belongs to can take a lease on it, for as long as
  // no daemon has it open, which would hold up this one for 45 s.
  constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  UniqueFd fd(open(path.c_str(), kFlags));
  if (!fd.valid() && errno == ENOENT && link(spare.c_str(), path.c_str()) == 0) {
    fd.Reset(open(path.c_str(), kFlags));
  }
  if (!fd.valid()) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("opening the control page %s", path));
  }
  std::unique_ptr<ControlPageFile> page(
      new ControlPageFile(std::move(path), std::move(spare), std::move(fd)));
  page->Keep();
  return page;
}

absl::StatusOr<std::unique_ptr<ControlPageFile>> ControlPageFile::Reopen(const std::string& dir,
                                                                         uint64_t generation) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<ControlPageFile> page, Open(dir, generation));
  ABSL_ASSIGN_OR_RETURN(const ControlPage content, page->ReadWhole(generation));
  page->left_mask_ = content.left_mask;
  ABSL_RETURN_IF_ERROR(page->OpenForMembers());
  page->MakeSpare();  // of one that an earlier version made
  return page;
}

absl::Status ControlPageFile::Stop(const std::string& dir, uint64_t generation,
                                   std::string_view reason) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<ControlPageFile> page, Open(dir, generation));
  const absl::StatusOr<ControlPage> content = page->ReadWhole(generation);
  if (content.ok() && content->stop != 0) return absl::OkStatus();
  if (absl::IsInvalidArgument(content.status())) {
    ABSL_RETURN_IF_ERROR(page->WriteNew(generation));
  }
  return page->WriteStop(Culprit{}, reason);
}

bool ControlPageFile::StopLeft(const std::string& dir, uint64_t generation,
                               std::string_view reason) {
  const auto page = Open(dir, generation);
  if (!page.ok()) return false;
  const absl::StatusOr<ControlPage> content = (*page)->ReadWhole(generation);
  if (!content.ok() || content->stop != 0) return false;
  return (*page)->WriteStop(Culprit{}, reason).ok() && content->ready != 0;
}

std::vector<uint64_t> ControlPageFile::RemoveAllBut(const std::string& dir,
                                                    const std::set<uint64_t>& generations,
                                                    std::string_view reason) {
  std::vector<uint64_t> stopped;
  for (const std::string_view suffix : {kSuffix, kSpareSuffix}) {
    const auto names = ListSmallFiles(dir, suffix, kPagesMax);
    if (!names.ok()) return stopped;  // they take room until the next time
    for (const std::string& name : *names) {
      uint64_t generation = 0;
      const std::string_view number = std::string_view(name).substr(name.rfind('-') + 1);
      const std::string path = absl::StrFormat("%s/%s%s", dir, name, suffix);
      const bool named =
          absl::SimpleHexAtoi(absl::string_view(number.data(), number.size()), &generation) &&
          (path == PathOf(dir, generation) || path == SpareOf(dir, generation));
      if (named && generations.contains(generation)) continue;
      if (named && StopLeft(dir, generation, reason)) stopped.push_back(generation);
      unlink(path.c_str());
      if (!named) continue;
      unlink(PathOf(dir, generation).c_str());
      unlink(SpareOf(dir, generation).c_str());
    }
  }
  return stopped;
}

absl::StatusOr<ControlPage> ControlPageFile::ReadWhole(uint64_t generation) const {
  ABSL_ASSIGN_OR_RETURN(const ControlPage content, Read());
  if (content.magic != kControlPageMagic || content.version != kControlPageVersion ||
      content.generation != generation) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s is not the control page of generation %d", path_, generation));
  }
  return content;
}

absl::StatusOr<ControlPage> ControlPageFile::Read() const {
  ControlPage page;
  const ssize_t got = pread(fd_.get(), &page, sizeof(page), 0);
  if (got == static_cast<ssize_t>(sizeof(page))) return page;
  if (got < 0) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("reading the control page %s", path_));
  }
  return absl::InvalidArgumentError(absl::StrFormat("the control page %s is cut", path_));
}

bool ControlPageFile::IsAt(const std::string& path) const {
  struct stat own = {};
  struct stat there = {};
  if (fstat(fd_.get(), &own) != 0) return true;
  if (lstat(path.c_str(), &there) != 0) return errno != ENOENT;
  return own.st_dev == there.st_dev && own.st_ino == there.st_ino;
}

// Best effort: it is tried again at every look, and the page serves without it.
void ControlPageFile::MakeSpare() const {
  if (!path_.empty() && !IsAt(spare_)) Link(path_, spare_);
}

bool ControlPageFile::PutBack() {
  if (!IsLost()) {
    MakeSpare();
    return true;
  }
  return IsAt(spare_) && Link(spare_, path_) && !IsLost();
}

std::string ControlPageFile::Cut() const {
  struct stat info = {};
  if (fstat(fd_.get(), &info) != 0 || info.st_size >= static_cast<off_t>(kControlPageBytes)) {
    return "";
  }
  return absl::StrFormat(
      "somebody cut its control page %s to %d bytes, which ends processes that read it (SIGBUS)",
      path_, info.st_size);
}

ControlPageFile::~ControlPageFile() {
  if (kept_ || path_.empty()) return;
  unlink(path_.c_str());
  unlink(spare_.c_str());
}

absl::Status ControlPageFile::WriteReady() {
  const uint32_t ready = 1;
  return WriteAt(offsetof(ControlPage, ready), &ready, sizeof(ready));
}

absl::Status ControlPageFile::WriteLeft(Rank rank, uint32_t epoch) {
  const size_t index = static_cast<size_t>(rank.value);
  // The epoch before the bit: who sees the bit reads the epoch.
  ABSL_RETURN_IF_ERROR(
      WriteAt(offsetof(ControlPage, left_epoch) + index * sizeof(epoch), &epoch, sizeof(epoch)));
  left_mask_ |= 1u << index;
  return WriteAt(offsetof(ControlPage, left_mask), &left_mask_, sizeof(left_mask_));
}

absl::Status ControlPageFile::WriteStop(const Culprit& culprit, std::string_view reason) {
  // The stop word last: who sees it reads the cause.
  std::array<char, kControlPageReasonBytes> text = {};
  const std::string_view cut = CutUtf8(reason, text.size() - 1);
  std::copy(cut.begin(), cut.end(), text.begin());
  // Whether or not the cause can be told: kernels spin until they see the word.
  WriteAt(offsetof(ControlPage, reason), text.data(), text.size()).IgnoreError();
  const int32_t rank = culprit.rank.value;
  const int32_t pid = culprit.pid;
  WriteAt(offsetof(ControlPage, culprit_rank), &rank, sizeof(rank)).IgnoreError();
  WriteAt(offsetof(ControlPage, culprit_pid), &pid, sizeof(pid)).IgnoreError();
  const uint32_t stop = 1;
  return WriteAt(offsetof(ControlPage, stop), &stop, sizeof(stop));
}

absl::Status ControlPageFile::WriteAt(size_t offset, const void* data, size_t bytes) {
  ssize_t written;
  do {
    written = pwrite(fd_.get(), data, bytes, static_cast<off_t>(offset));
  } while (written < 0 && errno == EINTR);
  if (written < 0) {
    return WriteErrorToStatus(errno, absl::StrFormat("writing the control page %s", path_), path_);
  }
  if (static_cast<size_t>(written) != bytes) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("writing the control page %s: %d of %d bytes; is its file system full?",
                        path_, written, bytes));
  }
  return absl::OkStatus();
}

}  // namespace nodecomm
