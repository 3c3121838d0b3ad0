// A configuration as the message of config.proto: what is in force, for those who ask.
// Not a file's text (config.h reads that). Design note: daemon/config/README.md.
#pragma once

#include <string_view>

#include "daemon/config/config.h"
#include "nodecomm/v1/config.pb.h"

namespace nodecomm {

// As a file and a line of the log have it.
std::string_view LogLevelName(LogLevel level);

// Every field is set, also where the file has none; proof_bytes only if `config` has it. Read back,
// it is the same configuration.
v1::DaemonConfig ToMessage(const Config& config);

}  // namespace nodecomm
