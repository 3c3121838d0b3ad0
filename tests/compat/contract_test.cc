// Whether this build keeps what the last release promised, and whether the rules see what breaks.
// Not whether two releases work together: releases.sh. Design note: tests/compat/README.md.
#include "tests/compat/contract.h"

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "tests/compat/contract_rules.h"
#include "tests/support/status_matchers.h"

namespace nodecomm::compat {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string ReadFile(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Contract, KeepsThatOfTheLastRelease) {
  const auto last = ParseContract(ReadFile(NODECOMM_LAST_RELEASE));
  const auto today = ContractOfThisBuild();
  ASSERT_OK(last);
  ASSERT_OK(today);
  const std::vector<std::string> broken = BrokenPromises(*last, *today);
  EXPECT_TRUE(broken.empty()) << "promised by " << last->at("release version") << ", commit "
                              << last->at("release commit") << ":\n"
                              << absl::StrJoin(broken, "\n");
}

TEST(Contract, IsTheSameWhenReadBack) {
  const auto today = ContractOfThisBuild();
  ASSERT_OK(today);
  const auto read = ParseContract("# a comment\n" + ContractText(*today));
  ASSERT_OK(read);
  EXPECT_EQ(*read, *today);
}

TEST(Contract, HasAllKindsOfFacts) {
  const auto today = ContractOfThisBuild();
  ASSERT_OK(today);
  for (const absl::string_view name :
       {"wire field nodecomm.v1.JoinGroupRequest.rank",
        "wire enum nodecomm.v1.Platform.PLATFORM_CUDA", "wire rpc nodecomm.v1.Control.JoinGroup",
        "wire message nodecomm.v1.GetHostRequest", "wire frame hello", "wire control_page .stop",
        "library soname", "library symbol nodecomm_version@NODECOMM_1",
        "library nodecomm_options.checked", "library NODECOMM_ABORTED", "plane .block",
        "plane regions of 2097152 bytes, 8 ranks",
        "selection of architecture 90, planes of 37748736 bytes, 4 ranks"}) {
    EXPECT_TRUE(today->contains(name)) << name;
  }
}

class ContractRules : public testing::Test {
 protected:
  const Contract last_ = {{"wire version", "1"},          {"library version", "1"},
                          {"plane version", "4"},         {"selection version", "3"},
                          {"wire field M.a", "1 string"}, {"library symbol f", "1"},
                          {"plane .block", "128+8"},      {"selection of 2", "abc"}};
  Contract today_ = last_;
};

TEST_F(ContractRules, TheSameKeepsAll) { EXPECT_THAT(BrokenPromises(last_, today_), IsEmpty()); }

TEST_F(ContractRules, WireAndLibraryMayGrow) {
  today_["wire field M.b"] = "2 string";
  today_["library symbol g"] = "1";
  EXPECT_THAT(BrokenPromises(last_, today_), IsEmpty());
}

TEST_F(ContractRules, WhatIsGoneIsNamedWithWhatToDo) {
  today_.erase("wire field M.a");
  today_.erase("library symbol f");
  EXPECT_THAT(
      BrokenPromises(last_, today_),
      ElementsAre(AllOf(HasSubstr("wire field M.a was '1 string' and is gone"), HasSubstr("back")),
                  AllOf(HasSubstr("library symbol f"), HasSubstr("raise NODECOMM_ABI"))));
}

TEST_F(ContractRules, AnotherNumberOrTypeBreaks) {
  today_["wire field M.a"] = "2 string";
  EXPECT_THAT(BrokenPromises(last_, today_),
              ElementsAre(HasSubstr("wire field M.a was '1 string' and is '2 string'")));
}

TEST_F(ContractRules, PlaneAndSelectionMustNotEvenGrow) {
  today_["plane .more"] = "136+8";
  today_["selection of 3"] = "def";
  EXPECT_THAT(BrokenPromises(last_, today_),
              ElementsAre(AllOf(HasSubstr("plane .more is new"), HasSubstr("raise kPlaneAbi")),
                          HasSubstr("raise kAlgorithmTableVersion")));
}

TEST_F(ContractRules, ARaisedVersionLetsItsPartDiffer) {
  today_["plane version"] = "5";
  today_["plane .block"] = "256+8";
  EXPECT_THAT(BrokenPromises(last_, today_), IsEmpty());
  today_["selection of 2"] = "def";
  EXPECT_THAT(BrokenPromises(last_, today_), ElementsAre(HasSubstr("selection of 2")));
}

TEST_F(ContractRules, VersionsNeverFallNorGo) {
  today_["plane version"] = "3";
  today_.erase("wire version");
  EXPECT_THAT(BrokenPromises(last_, today_), ElementsAre(HasSubstr("'wire' was 1 and is -1"),
                                                         HasSubstr("'plane' was 4 and is 3")));
}

}  // namespace
}  // namespace nodecomm::compat
