#include "client/base/utf8.h"

#include <gtest/gtest.h>

namespace nodecomm {
namespace {

TEST(Utf8, CharactersOfEveryLengthAreText) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("model"));
  EXPECT_TRUE(IsUtf8("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82 \xf4\x8f\xbf\xbf"));
}

TEST(Utf8, WhatIsNoCharacterIsNone) {
  for (const char* text : {
           "caf\xe9",           // Latin-1
           "\x80",              // the middle of a character
           "\xc3",              // its beginning alone
           "\xe2\x82",          // likewise
           "\xc1\xbf",          // would fit into one byte
           "\xe0\x9f\xbf",      // into two
           "\xf0\x8f\xbf\xbf",  // into three
           "\xed\xa0\x80",      // a surrogate
           "\xf4\x90\x80\x80",  // beyond the last
           "\xff",
       }) {
    EXPECT_FALSE(IsUtf8(text)) << text;
  }
}

TEST(Utf8, WhatIsNoCharacterIsReplacedByteByByte) {
  EXPECT_EQ(ToUtf8("caf\xe9!", 100), "caf?!");
  EXPECT_EQ(ToUtf8("\xe2\x82", 100), "??");
  EXPECT_EQ(ToUtf8("caf\xc3\xa9", 100), "caf\xc3\xa9");
}

TEST(Utf8, NoCharacterIsCut) {
  EXPECT_EQ(ToUtf8("caf\xc3\xa9", 4), "caf");
  EXPECT_EQ(ToUtf8("caf\xc3\xa9", 5), "caf\xc3\xa9");
  EXPECT_EQ(ToUtf8("caf\xe9", 4), "caf?");
  EXPECT_EQ(ToUtf8("caf", 0), "");
}

}  // namespace
}  // namespace nodecomm
