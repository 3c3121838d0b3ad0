#include "daemon/service/user_servers.h"

#include <gtest/gtest.h>

namespace nodecomm {
namespace {

TEST(UserServers, UsersHaveOneEachAndKeepIt) {
  UserServers servers(3);
  const std::map<uid_t, int> connected = {{7, 1}, {8, 1}, {9, 1}};
  const std::set<size_t> all = {servers.ServerOf(7, connected), servers.ServerOf(8, connected),
                                servers.ServerOf(9, connected)};
  EXPECT_EQ(all, (std::set<size_t>{0, 1, 2}));
  for (const uid_t uid : {7u, 8u, 9u}) {
    EXPECT_EQ(servers.ServerOf(uid, connected), uid - 7) << uid;
  }
}

TEST(UserServers, ServerOfAUserWhoHasGoneIsTheNextNewcomers) {
  UserServers servers(2);
  std::map<uid_t, int> connected = {{7, 1}, {8, 1}};
  EXPECT_EQ(servers.ServerOf(7, connected), 0u);
  EXPECT_EQ(servers.ServerOf(8, connected), 1u);
  connected = {{8, 1}, {9, 1}};
  EXPECT_EQ(servers.ServerOf(9, connected), 0u);
  EXPECT_EQ(servers.ServerOf(8, connected), 1u);
}

TEST(UserServers, MoreUsersThanServersAreSpreadEvenly) {
  UserServers servers(2);
  std::map<uid_t, int> connected;
  for (uid_t uid = 0; uid < 6; ++uid) {
    connected[uid] = 1;
    EXPECT_EQ(servers.ServerOf(uid, connected), uid % 2) << uid;
  }
}

}  // namespace
}  // namespace nodecomm
