// Switches in the environment: one rule for the library and for who explains it.
#pragma once

#include <cstdlib>
#include <string_view>

namespace nodecomm {

// Whether the variable is set, to something other than "" and "0".
inline bool IsOnInEnvironment(const char* variable) {
  const char* const value = std::getenv(variable);
  return value != nullptr && *value != '\0' && std::string_view(value) != "0";
}

}  // namespace nodecomm
