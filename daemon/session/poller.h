// epoll and a wake-up, for one thread that watches many sockets.
// Not an event loop: it says which watch has something, and no more.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "client/base/unique_fd.h"

namespace nodecomm {

// One thread, except Wake().
class Poller {
 public:
  // What a descriptor is, chosen by whoever watches it. `id` tells apart those of one kind; an id
  // is never used for two descriptors, so that an event which was fetched before its descriptor was
  // closed finds nobody.
  struct Watch {
    uint8_t kind = 0;
    uint64_t id = 0;  // below 2^56
  };
  struct Event {
    Watch watch;
    uint32_t epoll_events = 0;
  };

  static absl::StatusOr<Poller> Create();

  // `epoll_events` as of epoll_ctl(2), level-triggered.
  absl::Status Add(int fd, uint32_t epoll_events, Watch watch);
  absl::Status Change(int fd, uint32_t epoll_events, Watch watch);
  void Remove(int fd);

  // Waits until something happens, Wake() is called, or `deadline` has passed.
  std::vector<Event> Wait(SteadyTime deadline);

  // Makes the present or the next Wait() return. Any thread.
  void Wake();

 private:
  Poller(UniqueFd epoll, UniqueFd wake) : epoll_(std::move(epoll)), wake_(std::move(wake)) {}

  UniqueFd epoll_;
  UniqueFd wake_;
};

}  // namespace nodecomm
