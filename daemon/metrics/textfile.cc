#include "daemon/metrics/textfile.h"

#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "daemon/files/small_file.h"

namespace nodecomm {
namespace {

// One that writes more often than the other finds a file of the other's now and then only.
constexpr absl::Duration kSharedRemembered = absl::Minutes(10);

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsTextfile>> MetricsTextfile::Start(Options options) {
  std::unique_ptr<MetricsTextfile> file(new MetricsTextfile(std::move(options)));
  if (const absl::Status written = file->Write(); !written.ok()) {
    return absl::Status(
        written.code(),
        absl::StrFormat("%s; make that directory, let uid %d write there (under systemd also by "
                        "ReadWritePaths= of the unit), or leave metrics.textfile out",
                        written.message(), geteuid()));
  }
  file->thread_ = std::thread([raw = file.get()] { raw->Run(); });
  return file;
}

MetricsTextfile::~MetricsTextfile() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    stops_.SignalAll();
  }
  if (!thread_.joinable()) return;
  thread_.join();
  if (!IsAnothers()) unlink(options_.path.c_str());
}

std::optional<MetricsTextfile::FileId> MetricsTextfile::ReadId() const {
  struct stat status;
  if (lstat(options_.path.c_str(), &status) != 0) return std::nullopt;
  // With the time, since a number is given again to the next file.
  return FileId{
      .device = status.st_dev,
      .inode = status.st_ino,
      .written_ns = int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

bool MetricsTextfile::IsAnothers() const {
  const std::optional<FileId> there = ReadId();
  return written_.has_value() && there.has_value() && there != written_;
}

absl::Status MetricsTextfile::Write() {
  if (IsAnothers()) shared_until_ = SteadyNow() + kSharedRemembered;
  // For everybody to read: node_exporter has a user of its own.
  absl::Status written = ReplaceSmallFile(options_.path, options_.expose(), Readers::kEverybody);
  if (!written.ok()) {
    return absl::Status(
        written.code(),
        absl::StrFormat("the metrics cannot be written (metrics.textfile): %s", written.message()));
  }
  written_ = ReadId();
  if (SteadyNow() >= shared_until_) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrFormat(
      "the file of metrics is overwritten by another program, and holds the metrics of one and of "
      "the other in turn (metrics.textfile, %s): give each nodecommd a file of its own",
      options_.path));
}

bool MetricsTextfile::WaitForNextWrite() {
  absl::MutexLock lock(&mu_);
  const auto stopping = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stopping_; };
  return !stops_.Await(&mu_, SteadyNow() + options_.interval, stopping);
}

void MetricsTextfile::Run() {
  absl::StatusCode told = absl::StatusCode::kOk;
  while (WaitForNextWrite()) {
    const absl::Status written = Write();
    // Once, not at every interval.
    if (written.code() != told) options_.news(written);
    told = written.code();
  }
}

}  // namespace nodecomm
