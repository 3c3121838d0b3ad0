// The program itself: arguments, exit codes, and which stream says what.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "client/base/version.h"
#include "tests/client/cli/fake_admin.h"

namespace nodecomm {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

std::string Contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Runs nodecommctl by a shell, with `environment` ("NAME=value ...") before it.
Outcome RunProgram(const std::string& arguments, const std::string& environment = "") {
  const FakeRuntimeDir scratch;
  const std::string out = scratch.path() + "/out";
  const std::string err = scratch.path() + "/err";
  const std::string command = "env -u NODECOMM_RUNTIME_DIR " + environment + " '" NODECOMMCTL "' " +
                              arguments + " >" + out + " 2>" + err;
  const int status = system(command.c_str());  // NOLINT(cert-env33-c): a test of a command line
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Contents(out), Contents(err)};
}

FakeAdminAnswers SomeAnswers() {
  FakeAdminAnswers answers;
  answers.status.set_pid(4242);
  answers.topology.mutable_host()->add_gpus()->set_uuid("GPU-a");
  answers.groups.add_groups()->set_name("tp0");
  answers.pools.add_pools()->set_gpu_uuid("GPU-a");
  return answers;
}

TEST(Nodecommctl, AnswersEveryCommandInBothForms) {
  const FakeRuntimeDir dir;
  const FakeAdmin admin(dir, SomeAnswers());
  const std::string where = "--runtime-dir " + dir.path() + " ";
  const struct {
    const char* arguments;
    const char* part;
  } cases[] = {
      {"topo", "GPU0"},
      {"topo --json", "\"uuid\": \"GPU-a\""},
      {"status", "pid        4242"},
      {"status --json", "\"pid\": 4242"},
      {"groups", "tp0"},
      {"groups --json", "\"groups\": ["},
      {"pools", "GPU-a"},
      {"pools --json", "\"pools\": ["},
  };
  for (const auto& test : cases) {
    const Outcome outcome = RunProgram(where + test.arguments);
    EXPECT_EQ(outcome.exit_code, 0) << test.arguments << "\n" << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr(test.part));
    EXPECT_EQ(outcome.err, "");
  }
}

TEST(Nodecommctl, TakesRuntimeDirAfterTheCommandAndFromTheEnvironment) {
  const FakeRuntimeDir dir;
  const FakeAdmin admin(dir, SomeAnswers());
  EXPECT_EQ(RunProgram("status --json --runtime-dir " + dir.path()).exit_code, 0);
  EXPECT_EQ(RunProgram("status", "NODECOMM_RUNTIME_DIR=" + dir.path()).exit_code, 0);
  EXPECT_EQ(RunProgram("status --runtime-dir " + dir.path(), "NODECOMM_RUNTIME_DIR=/nonexistent")
                .exit_code,
            0);
}

TEST(Nodecommctl, FailsWithCodeOneWhereThereIsNoDaemon) {
  const Outcome outcome = RunProgram("topo --runtime-dir /nonexistent");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err,
              StartsWith("nodecommctl: no nodecommd at /nonexistent/admin/admin.sock"));
}

TEST(Nodecommctl, AsksRunNodecommByDefault) {
  EXPECT_THAT(RunProgram("--help").out, HasSubstr("/run/nodecomm"));
}

TEST(Nodecommctl, FailsWithCodeTwoOnWrongUsage) {
  for (const char* arguments :
       {"", "tpoo", "topo --jsn", "topo pools", "topo extra", "--runtime-dir"}) {
    const Outcome outcome = RunProgram(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments;
    EXPECT_EQ(outcome.out, "") << arguments;
    EXPECT_NE(outcome.err, "") << arguments;
  }
  EXPECT_THAT(RunProgram("tpoo").err, HasSubstr("tpoo"));
}

TEST(Nodecommctl, ReportsAnswerThatCouldNotBeWritten) {
  const FakeRuntimeDir dir;
  const FakeAdmin admin(dir, SomeAnswers());
  // The shell ends before the redirections that RunProgram appends.
  const Outcome outcome =
      RunProgram("topo --runtime-dir " + dir.path() + " >/dev/full; exit $?; true");
  EXPECT_EQ(outcome.exit_code, 1);
}

TEST(Nodecommctl, PrintsHelpWithExitCodesAndVersion) {
  const Outcome help = RunProgram("--help");
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, HasSubstr("Exit codes: 0"));
  for (const char* command : {"topo", "status", "groups", "pools"}) {
    EXPECT_THAT(help.out, HasSubstr(command));
  }
  const Outcome version = RunProgram("--version");
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.out, std::string("nodecommctl ") + kVersionLine + "\n");
}

}  // namespace
}  // namespace nodecomm
