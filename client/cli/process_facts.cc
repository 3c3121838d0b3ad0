#include "client/cli/process_facts.h"

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace nodecomm {
namespace {

constexpr int kLinesMax = 1000;

}  // namespace

ProcessFacts ReadProcess(pid_t pid) {
  ProcessFacts facts;
  std::ifstream file(absl::StrFormat("/proc/%d/status", pid));
  std::string line;
  for (int i = 0; i < kLinesMax && std::getline(file, line); ++i) {
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    // "State: T (stopped)"
    if (words.size() > 1 && words[0] == "State:") facts.state = words[1].front();
    // "Uid: REAL EFFECTIVE SAVED FILESYSTEM"
    uid_t uid = 0;
    if (words.size() > 2 && words[0] == "Uid:" && absl::SimpleAtoi(words[2], &uid)) {
      facts.effective_uid = uid;
    }
  }
  return facts;
}

}  // namespace nodecomm
