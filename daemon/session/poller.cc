#include "daemon/session/poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

constexpr int kEventsAtOnceMax = 64;
constexpr int kIdBits = 56;
// The id that stands for the wake-up itself.
constexpr uint64_t kWakeKey = UINT64_MAX;

uint64_t ToKey(Poller::Watch watch) { return (uint64_t{watch.kind} << kIdBits) | watch.id; }

Poller::Watch FromKey(uint64_t key) {
  return {.kind = static_cast<uint8_t>(key >> kIdBits), .id = key & ((uint64_t{1} << kIdBits) - 1)};
}

absl::Status Control(int epoll, int operation, int fd, uint32_t events, uint64_t key) {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = key;
  if (epoll_ctl(epoll, operation, fd, &event) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, "epoll_ctl");
}

int ToTimeoutMs(SteadyTime deadline) {
  if (deadline == SteadyTime::InfiniteFuture()) return -1;
  // Rounded up, so that the deadline has passed when the wait ends.
  const int64_t ms = absl::ToInt64Milliseconds(deadline - SteadyNow()) + 1;
  return static_cast<int>(std::clamp<int64_t>(ms, 0, 60'000));
}

}  // namespace

absl::StatusOr<Poller> Poller::Create() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return absl::ErrnoToStatus(errno, "epoll_create1");
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return absl::ErrnoToStatus(errno, "eventfd");
  ABSL_RETURN_IF_ERROR(Control(epoll.get(), EPOLL_CTL_ADD, wake.get(), EPOLLIN, kWakeKey));
  return Poller(std::move(epoll), std::move(wake));
}

absl::Status Poller::Add(int fd, uint32_t epoll_events, Watch watch) {
  return Control(epoll_.get(), EPOLL_CTL_ADD, fd, epoll_events, ToKey(watch));
}

absl::Status Poller::Change(int fd, uint32_t epoll_events, Watch watch) {
  return Control(epoll_.get(), EPOLL_CTL_MOD, fd, epoll_events, ToKey(watch));
}

void Poller::Remove(int fd) { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

std::vector<Poller::Event> Poller::Wait(SteadyTime deadline) {
  std::array<epoll_event, kEventsAtOnceMax> ready = {};
  const int count = epoll_wait(epoll_.get(), ready.data(), kEventsAtOnceMax, ToTimeoutMs(deadline));
  std::vector<Event> events;
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = ready[static_cast<size_t>(i)];
    if (event.data.u64 != kWakeKey) {
      events.push_back({.watch = FromKey(event.data.u64), .epoll_events = event.events});
      continue;
    }
    uint64_t wakes;
    // Nothing to do if it fails: another wake-up is as good.
    [[maybe_unused]] const ssize_t got = read(wake_.get(), &wakes, sizeof(wakes));
  }
  return events;
}

void Poller::Wake() {
  const uint64_t one = 1;
  // Fails only if the counter is full, and then the thread wakes anyway.
  [[maybe_unused]] const ssize_t put = write(wake_.get(), &one, sizeof(one));
}

}  // namespace nodecomm
