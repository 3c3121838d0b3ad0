// Colours for words that tell good from bad, in text that is laid out already: the codes have no
// width. Not a theme. Design note: client/cli/README.md.
#pragma once

#include <string>
#include <string_view>

namespace nodecomm {

// Good is green (NV#, proven, yes), doubtful yellow (~, unproven, draining), bad red (!, FAILED,
// no, lost). Everything else as it is.
std::string WithColour(std::string_view text);

}  // namespace nodecomm
