#include "daemon/main/link_log.h"

#include <spdlog/spdlog.h>

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/main/log.h"
#include "daemon/topology/links.h"

namespace nodecomm {
namespace {

void LogLinkErrors(const v1::Host& before, const v1::Host& now) {
  std::map<std::string, uint64_t> known;
  for (const v1::Gpu& gpu : before.gpus()) {
    if (gpu.has_nvlink_errors()) known[gpu.uuid()] = gpu.nvlink_errors();
  }
  for (const v1::Gpu& gpu : now.gpus()) {
    const auto earlier = known.find(gpu.uuid());
    if (earlier == known.end() || gpu.nvlink_errors() <= earlier->second) continue;
    Log(spdlog::level::warn, {.gpu = gpu.uuid()}, "{} new NVLink errors, {} in all",
        gpu.nvlink_errors() - earlier->second, gpu.nvlink_errors());
  }
}

// GPUs by what has become of their links, so that a GPU or a switch that fails is a few lines.
using Targets = std::map<std::string, std::vector<std::string>>;

void LogAccess(const v1::Host& before, const v1::Host& now) {
  std::map<std::pair<std::string, std::string>, bool> had_access;
  for (const v1::Link& link : before.links()) {
    had_access[{link.from_uuid(), link.to_uuid()}] =
        link.peer_access() == v1::PEER_ACCESS_SUPPORTED;
  }
  Targets gone;
  Targets there;
  for (const v1::Link& link : now.links()) {
    const auto known = had_access.find({link.from_uuid(), link.to_uuid()});
    const bool has_access = link.peer_access() == v1::PEER_ACCESS_SUPPORTED;
    if (known == had_access.end() || known->second == has_access) continue;
    (has_access ? there : gone)[link.from_uuid()].push_back(
        has_access || link.peer_access_reason().empty()
            ? link.to_uuid()
            : absl::StrCat(link.to_uuid(), " (", link.peer_access_reason(), ")"));
  }
  for (const auto& [from, to] : gone) {
    Log(spdlog::level::err, {.gpu = from},
        "peer access is gone, as the driver says, to {}: new groups get no fast path there, and "
        "calls of those that are there may fail",
        Escaped(absl::StrJoin(to, ", ")));
  }
  for (const auto& [from, to] : there) {
    Log(spdlog::level::info, {.gpu = from}, "peer access is there, as the driver says, to {}",
        Escaped(absl::StrJoin(to, ", ")));
  }
}

// Links that fail, or come back, behind access that stays; where that goes, the line of it says so.
void LogLinkCounts(const v1::Host& before, const v1::Host& now) {
  std::map<std::pair<std::string, std::string>, int> counted;
  for (const v1::Link& link : before.links()) {
    counted[{link.from_uuid(), link.to_uuid()}] = link.nvlink_count();
  }
  std::map<std::tuple<std::string, int, int>, std::vector<std::string>> changed;
  for (const v1::Link& link : now.links()) {
    const auto known = counted.find({link.from_uuid(), link.to_uuid()});
    if (known == counted.end() || known->second == link.nvlink_count()) continue;
    if (link.peer_access() != v1::PEER_ACCESS_SUPPORTED) continue;
    changed[{link.from_uuid(), known->second, link.nvlink_count()}].push_back(link.to_uuid());
  }
  for (const auto& [key, to] : changed) {
    const auto& [from, earlier, count] = key;
    Log(count < earlier ? spdlog::level::warn : spdlog::level::info, {.gpu = from},
        "{} NVLinks are up, {} were, to {}{}", count, earlier, Escaped(absl::StrJoin(to, ", ")),
        count < earlier ? ": calls there are slower; nvidia-smi nvlink -s" : "");
  }
}

void LogMigMode(const v1::Host& before, const v1::Host& now) {
  std::map<std::string, bool> was_in_it;
  for (const v1::Gpu& gpu : before.gpus()) {
    was_in_it[gpu.uuid()] = gpu.mig_mode() == v1::MIG_MODE_ENABLED;
  }
  for (const v1::Gpu& gpu : now.gpus()) {
    const auto known = was_in_it.find(gpu.uuid());
    const bool is_in_it = gpu.mig_mode() == v1::MIG_MODE_ENABLED;
    if (known == was_in_it.end() || known->second == is_in_it) continue;
    if (is_in_it) {
      Log(spdlog::level::warn, {.gpu = gpu.uuid()},
          "it is in MIG mode now, which has no peer access: new groups get no fast path there "
          "(nvidia-smi -mig 0)");
    } else {
      Log(spdlog::level::info, {.gpu = gpu.uuid()}, "it is in MIG mode no more");
    }
  }
}

void LogFabric(const v1::Host& before, const v1::Host& now) {
  std::map<std::string, bool> waited;
  for (const v1::Gpu& gpu : before.gpus()) waited[gpu.uuid()] = WaitsForFabric(gpu);
  for (const v1::Gpu& gpu : now.gpus()) {
    const auto known = waited.find(gpu.uuid());
    if (known == waited.end() || known->second == WaitsForFabric(gpu)) continue;
    if (WaitsForFabric(gpu)) {
      Log(spdlog::level::warn, {.gpu = gpu.uuid()},
          "the NVLink fabric is down: new groups get no fast path there, and calls of those that "
          "are there may fail; systemctl status nvidia-fabricmanager");
    } else {
      Log(spdlog::level::info, {.gpu = gpu.uuid()}, "the NVLink fabric is there");
    }
  }
}

}  // namespace

void LogLinkChanges(const v1::Host& before, const v1::Host& now) {
  LogMigMode(before, now);
  LogFabric(before, now);
  LogLinkErrors(before, now);
  LogLinkCounts(before, now);
  LogAccess(before, now);
}

}  // namespace nodecomm
