// Alignment and units; see text_table.h.
// Not the tables' contents: those are in topology_text.cc and tables.cc.
// Design note: client/cli/README.md.
#include "client/cli/text_table.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/utf8.h"

namespace nodecomm {

std::string RenderTable(const std::vector<TextRow>& rows) {
  std::vector<size_t> widths;
  for (const TextRow& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const TextRow& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&line, row[i], std::string(widths[i] - row[i].size() + 2, ' '));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::string RenderBytes(ByteCount bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes.value == 0) return "0";
  auto value = static_cast<double>(bytes.value);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  std::string number = absl::StrFormat("%.1f", value);
  if (number.ends_with(".0")) number.resize(number.size() - 2);
  return absl::StrCat(number, " ", kUnits[unit]);
}

std::string RenderDuration(absl::Duration duration) {
  const std::string text = absl::FormatDuration(absl::Trunc(duration, absl::Seconds(1)));
  return text == "0" ? "0s" : text;
}

std::string Counted(int64_t count, const std::string& noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

namespace {

// The control characters U+0080 to U+009F, which Abseil leaves as it does all UTF-8: U+009B, for
// one, begins what ESC [ begins.
std::string EscapeC1(const std::string& text) {
  constexpr char kLead = '\xc2';  // in UTF-8, of U+0080 to U+00BF
  std::string escaped;
  for (size_t at = 0; at < text.size(); ++at) {
    const auto next = static_cast<unsigned char>(at + 1 < text.size() ? text[at + 1] : '\0');
    if (text[at] == kLead && next >= 0x80 && next < 0xa0) {
      absl::StrAppendFormat(&escaped, "\\u%04x", next);
      ++at;
    } else {
      escaped += text[at];
    }
  }
  return escaped;
}

}  // namespace

std::string RenderForeign(const std::string& text) {
  // To some terminals its bytes are characters, controls among them.
  if (!IsUtf8(text)) return absl::CHexEscape(text);
  // Quotes harm no terminal, and are left as they are.
  std::string rendered;
  for (size_t at = 0; at < text.size();) {
    const size_t quote = std::min(text.find_first_of("\"'", at), text.size());
    absl::StrAppend(&rendered, EscapeC1(absl::Utf8SafeCHexEscape(text.substr(at, quote - at))),
                    text.substr(quote, 1));
    at = quote + 1;
  }
  return rendered;
}

}  // namespace nodecomm
