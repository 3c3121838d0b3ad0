#include "client/cli/colour.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace nodecomm {
namespace {

constexpr std::string_view kGreen = "\033[32m";
constexpr std::string_view kYellow = "\033[33m";
constexpr std::string_view kRed = "\033[31m";
constexpr std::string_view kPlain = "\033[0m";

template <size_t n>
bool IsOneOf(std::string_view word, const std::array<std::string_view, n>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// "NV18" and "NV?"; the legend's "NV#" too.
bool IsNvlinkSign(std::string_view word) {
  return word.size() > 2 && word.substr(0, 2) == "NV" &&
         (std::isdigit(static_cast<unsigned char>(word[2])) != 0 || word[2] == '?' ||
          word[2] == '#');
}

// Empty: none.
std::string_view ColourOf(std::string_view word) {
  constexpr std::array<std::string_view, 2> kGood = {"proven", "yes"};
  constexpr std::array<std::string_view, 4> kDoubtful = {"unproven", "unproven:", "draining",
                                                         "warning"};
  constexpr std::array<std::string_view, 5> kBad = {"FAILED", "FAILED:", "lost",
                                                    "lost:", "PROBLEM"};
  if (word.back() == '!' || IsOneOf(word, kBad)) return kRed;
  if (word.back() == '~' || IsOneOf(word, kDoubtful)) return kYellow;
  if (IsNvlinkSign(word) || IsOneOf(word, kGood)) return kGreen;
  return {};
}

}  // namespace

std::string WithColour(std::string_view text) {
  std::string coloured;
  while (!text.empty()) {
    const size_t start = std::min(text.find_first_not_of(" \n"), text.size());
    coloured.append(text.substr(0, start));
    text.remove_prefix(start);
    const size_t end = std::min(text.find_first_of(" \n"), text.size());
    if (end == 0) break;
    const std::string_view word = text.substr(0, end);
    const std::string_view colour = ColourOf(word);
    coloured.append(colour).append(word);
    if (!colour.empty()) coloured.append(kPlain);
    text.remove_prefix(end);
  }
  return coloured;
}

}  // namespace nodecomm
