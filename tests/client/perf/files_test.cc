// Whole files, and what is said where there is none.
// See client/perf/files.h.
// Design note: client/perf/README.md.
#include "client/perf/files.h"

#include "tests/support/status_matchers.h"

namespace nodecomm::perf {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(Files, AreReadAsTheyWereWritten) {
  const std::string path = ::testing::TempDir() + "/nodecomm_files_test.txt";
  ASSERT_THAT(WriteFile(path, "one\ntwo\n"), IsOk());
  EXPECT_EQ(ReadFile(path).value_or("?"), "one\ntwo\n");
  ASSERT_THAT(WriteFile(path, ""), IsOk());
  EXPECT_EQ(ReadFile(path).value_or("?"), "");
  ASSERT_THAT(WriteFile(path, std::string(kFileBytesMax, 'a')), IsOk());
  EXPECT_THAT(ReadFile(path), IsOk());
  ASSERT_THAT(WriteFile(path, std::string(kFileBytesMax + 1, 'a')), IsOk());
  EXPECT_THAT(ReadFile(path), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("longer")));
  std::remove(path.c_str());
}

TEST(Files, FailWithTheirNameAndTheReason) {
  EXPECT_THAT(ReadFile("/nonexistent/a"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("reading /nonexistent/a: No such")));
  EXPECT_THAT(ReadFile("/"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("directory")));
  EXPECT_THAT(WriteFile("/nonexistent/a", "x"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("writing /nonexistent/a: No such")));
  EXPECT_THAT(WriteFile("/dev/full", "x"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("No space")));
}

}  // namespace
}  // namespace nodecomm::perf
