// What each command of nodecommctl does: asks the daemon, or looks around, and renders the answer.
// Not the command line (nodecommctl.cc), nor how answers look (tables.h and the others).
// Design note: client/cli/README.md.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/admin_client.h"

namespace nodecomm {

inline constexpr int kExitOk = 0;
inline constexpr int kExitNotAsked = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitPairFailed = 3;
inline constexpr int kExitPairUnproven = 4;
inline constexpr int kExitStillBusy = 5;
inline constexpr int kExitProblems = 6;
inline constexpr int kExitTakenBack = 7;  // another administrator has done the opposite meanwhile

// What the command line says beside the command.
struct Options {
  std::string runtime_dir = "/run/nodecomm";
  std::string color = "auto";
  bool json = false;
  bool dump = false;
  std::vector<std::string> why;  // two GPUs
  bool force = false;
  int timeout_s = 120;
  std::string gpu;
  std::string group;
  std::string reason;
  bool abort = false;
  double interval_s = 2;
  int count = 0;  // 0: no end
};

struct Answer {
  std::string text;
  int exit_code = kExitOk;
};

// Prints a view that another will follow; false: nobody reads any more.
using ShowView = std::function<bool(const std::string& text)>;

// Those that ask the daemon, on a connection that is there.
absl::StatusOr<Answer> Topo(AdminClient& client, const Options& options);
absl::StatusOr<Answer> Status(AdminClient& client, const Options& options);
absl::StatusOr<Answer> Groups(AdminClient& client, const Options& options);
absl::StatusOr<Answer> Pools(AdminClient& client, const Options& options);
absl::StatusOr<Answer> Sessions(AdminClient& client, const Options& options);
absl::StatusOr<Answer> ShowConfig(AdminClient& client, const Options& options);
absl::StatusOr<Answer> ShowProofs(AdminClient& client, const Options& options);
absl::StatusOr<Answer> ProvePairs(AdminClient& client, const Options& options);
absl::StatusOr<Answer> Abort(AdminClient& client, const Options& options);
absl::StatusOr<Answer> Drain(AdminClient& client, const Options& options);
absl::StatusOr<Answer> Undrain(AdminClient& client, const Options& options);

// Every interval_s, `count` times; all but the last view go to `show`. Without a count it waits for
// a daemon that has gone after the first view, and says so.
absl::StatusOr<Answer> Top(const Options& options, const ShowView& show);

// Those that have something to say without a daemon, too.
absl::StatusOr<Answer> ShowVersion(const Options& options);
absl::StatusOr<Answer> Doctor(const Options& options);

}  // namespace nodecomm
