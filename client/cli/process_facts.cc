#include "client/cli/process_facts.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace nodecomm {
namespace {

constexpr int kLinesMax = 1000;
// More than a daemon has; a process of somebody's making is not counted for ever.
constexpr int64_t kOpenFilesMax = 10'000'000;

std::optional<int64_t> CountOpenFiles(pid_t pid) {
  std::error_code error;
  std::filesystem::directory_iterator it(absl::StrFormat("/proc/%d/fd", pid), error);
  int64_t count = 0;
  for (; !error && count < kOpenFilesMax && it != std::filesystem::end(it); it.increment(error)) {
    ++count;
  }
  if (error) return std::nullopt;
  return count;
}

// "Max open files            1024                 524288               files": the soft limit.
std::optional<int64_t> ReadOpenFilesMax(pid_t pid) {
  constexpr std::string_view kName = "Max open files ";
  std::ifstream file(absl::StrFormat("/proc/%d/limits", pid));
  std::string line;
  for (int i = 0; i < kLinesMax && std::getline(file, line); ++i) {
    if (!line.starts_with(kName)) continue;
    const std::vector<std::string> words =
        absl::StrSplit(line.substr(kName.size()), ' ', absl::SkipEmpty());
    int64_t max = 0;
    if (!words.empty() && absl::SimpleAtoi(words[0], &max)) return max;
  }
  return std::nullopt;
}

}  // namespace

ProcessFacts ReadProcess(pid_t pid) {
  ProcessFacts facts;
  std::ifstream file(absl::StrFormat("/proc/%d/status", pid));
  std::string line;
  for (int i = 0; i < kLinesMax && std::getline(file, line); ++i) {
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    // "State: T (stopped)"
    if (words.size() < 2) continue;
    if (words[0] == "State:") facts.state = words[1].front();
    // "Uid: REAL EFFECTIVE SAVED FILESYSTEM"
    uid_t uid = 0;
    if (words.size() > 2 && words[0] == "Uid:" && absl::SimpleAtoi(words[2], &uid)) {
      facts.effective_uid = uid;
    }
    // "NSpid: 4242 17": its number here, and in each namespace below.
    if (words[0] == "NSpid:") facts.in_inner_pid_namespace = words.size() > 2;
  }
  facts.open_files = CountOpenFiles(pid);
  facts.open_files_max = ReadOpenFilesMax(pid);
  return facts;
}

}  // namespace nodecomm
