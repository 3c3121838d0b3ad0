// Users whom the daemon cannot tell apart: in a user namespace of its own, the kernel shows it all
// that have no number there as one, "nobody".
// Source: user_namespaces(7), "Unmapped user and group IDs".
#pragma once

#include <sys/types.h>

#include <string_view>

namespace nodecomm {

// Whether this uid may stand for several users here. The first call decides for good, since what is
// mapped is set once; if that cannot be read then, there may be such users.
bool MayBeSeveralUsers(uid_t uid);

// False where there are such users.
bool TellsUsersApart();

// Whether every user has a number of its own in a namespace with this content of /proc/pid/uid_map.
bool MapsEveryUser(std::string_view uid_map);

}  // namespace nodecomm
