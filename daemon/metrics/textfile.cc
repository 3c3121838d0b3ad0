#include "daemon/metrics/textfile.h"

#include <unistd.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "daemon/files/small_file.h"

namespace nodecomm {

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
  unlink(options_.path.c_str());
}

absl::Status MetricsTextfile::Write() const {
  // For everybody to read: node_exporter has a user of its own.
  absl::Status written = ReplaceSmallFile(options_.path, options_.expose(), Readers::kEverybody);
  if (written.ok()) return written;
  return absl::Status(
      written.code(),
      absl::StrFormat("the metrics cannot be written (metrics.textfile): %s", written.message()));
}

bool MetricsTextfile::WaitForNextWrite() {
  absl::MutexLock lock(&mu_);
  const auto stopping = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stopping_; };
  return !stops_.Await(&mu_, SteadyNow() + options_.interval, stopping);
}

void MetricsTextfile::Run() {
  bool failed = false;
  while (WaitForNextWrite()) {
    const absl::Status written = Write();
    // Once, not at every interval.
    if (written.ok() == failed) options_.news(written);
    failed = !written.ok();
  }
}

}  // namespace nodecomm
