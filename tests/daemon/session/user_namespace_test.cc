#include "daemon/session/user_namespace.h"

#include <gtest/gtest.h>

namespace nodecomm {
namespace {

TEST(UserNamespace, OfTheHostMapsEveryUser) {
  EXPECT_TRUE(MapsEveryUser("         0          0 4294967295\n"));
  EXPECT_TRUE(MapsEveryUser("0 0 65536\n65536 200000 4294901759\n"));
}

TEST(UserNamespace, OfItsOwnMapsSomeUsers) {
  EXPECT_FALSE(MapsEveryUser("         0          0          1\n"));
  EXPECT_FALSE(MapsEveryUser("0 1000 1\n1 100000 65536\n"));
  EXPECT_FALSE(MapsEveryUser(""));
}

}  // namespace
}  // namespace nodecomm
