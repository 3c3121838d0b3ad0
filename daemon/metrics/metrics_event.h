// What happens in the daemon that is counted. Not states (metrics_snapshot.h), and no names or
// labels (metrics.cc). Design note: daemon/metrics/README.md.
#pragma once

#include <string>
#include <variant>

#include "daemon/group/group_news.h"
#include "daemon/service/call_news.h"
#include "daemon/session/session_news.h"

namespace nodecomm {

struct SessionOpened {};
struct SessionEnded {
  SessionEnd end = SessionEnd::kClosed;
};
// A critical error of a GPU, as the driver reports it.
struct XidSeen {
  std::string gpu_uuid;
  int code = 0;
};

using MetricsEvent =
    std::variant<SessionOpened, SessionEnded, Refusal, GroupNews, CallEnded, AuthFailure, XidSeen>;

}  // namespace nodecomm
