// The program itself: arguments, exit codes, and which stream says what.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/base/version.h"
#include "tests/client/cli/fake_admin.h"

namespace nodecomm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
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

// Runs nodecommctl by a shell, with `environment` ("NAME=value ...", or a program that runs
// another) before it.
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
  answers.groups.mutable_groups(0)->set_generation(7);
  answers.pools.add_pools()->set_gpu_uuid("GPU-a");
  answers.sessions.add_sessions()->set_session("00000000000000ab");
  answers.config.mutable_config()->set_runtime_dir("/run/n");
  answers.config.set_config_path("/etc/n");
  answers.status.set_version_line("7.8.9 (commit abc)");
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
      {"topo --dump", "uuid: \"GPU-a\""},
      {"p2p show", "No pairs"},
      {"p2p show --json", "\"schema_version\": 1"},
      {"status", "pid          4242"},
      {"status --json", "\"pid\": 4242"},
      {"groups", "tp0"},
      {"groups --json", "\"groups\": ["},
      {"pools", "GPU-a"},
      {"pools --json", "\"pools\": ["},
      {"sessions", "00000000000000ab"},
      {"sessions --json", "\"session\": \"00000000000000ab\""},
      {"config show", "runtime_dir: \"/run/n\""},
      {"config show --json", "\"config_path\": \"/etc/n\""},
      {"version", "7.8.9"},
      {"version --json", "\"daemon_version_line\": \"7.8.9 (commit abc)\""},
      {"top --count 1", "tp0"},
      {"top --count 1 --json", "\"unix_time_ms\":\""},
      {"abort tp0", "generation 7"},
      {"abort tp0 --json", "\"generation\": \"7\""},
      {"drain --gpu 0 --json", "\"drained\": true"},
      {"topo --help", "--why"},
  };
  for (const auto& test : cases) {
    const Outcome outcome = RunProgram(where + test.arguments);
    EXPECT_EQ(outcome.exit_code, 0) << test.arguments << "\n" << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr(test.part));
    EXPECT_EQ(outcome.err, "");
  }
}

// gRPC would end the program.
TEST(Nodecommctl, NamesALimitOnFilesThatIsTooLow) {
  const FakeRuntimeDir dir;
  const FakeAdmin admin(dir, SomeAnswers());
  for (const char* files : {"6", "12"}) {
    const Outcome outcome =
        RunProgram("status --runtime-dir " + dir.path(), absl::StrCat("prlimit --nofile=", files));
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, HasSubstr("too few files"));
    EXPECT_THAT(outcome.err, HasSubstr("ulimit -n"));
  }
}

// Two GPUs, tried with these verdicts.
FakeAdminAnswers AnswersWithVerdicts(v1::ProofVerdict first, v1::ProofVerdict second) {
  FakeAdminAnswers answers;
  v1::Host* host = answers.topology.mutable_host();
  for (const char* uuid : {"GPU-a", "GPU-b"}) host->add_gpus()->set_uuid(uuid);
  for (int i = 0; i < 2; ++i) {
    v1::PeerProof* proof = answers.topology.add_proofs();
    proof->set_from_uuid(host->gpus(i).uuid());
    proof->set_to_uuid(host->gpus(1 - i).uuid());
    proof->set_verdict(i == 0 ? first : second);
  }
  answers.topology.mutable_check()->set_running(true);
  answers.topology.mutable_check()->set_pairs_total(2);
  return answers;
}

TEST(Nodecommctl, TopShowsAsManyViewsAsAskedForAndClearsNoPipe) {
  const FakeRuntimeDir dir;
  const FakeAdmin admin(dir, SomeAnswers());
  const Outcome outcome =
      RunProgram("top --count 3 --interval 0.2 --runtime-dir " + dir.path() + " --color auto");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  size_t views = 0;
  for (size_t at = outcome.out.find("tp0"); at != std::string::npos;
       at = outcome.out.find("tp0", at + 1)) {
    ++views;
  }
  EXPECT_EQ(views, 3u);
  EXPECT_THAT(outcome.out, Not(HasSubstr("\033[")));
  for (const char* interval : {"0.01", "0", "-1", "nan", "-nan", "inf", "1e9", "x"}) {
    EXPECT_EQ(RunProgram(std::string("top --count 1 --runtime-dir ") + dir.path() +
                         " --interval=" + interval)
                  .exit_code,
              2)
        << interval;
  }
}

TEST(Nodecommctl, TopPrintsALineOfJsonAView) {
  const FakeRuntimeDir dir;
  const FakeAdmin admin(dir, SomeAnswers());
  const Outcome outcome =
      RunProgram("top --json --count 2 --interval 0.2 --runtime-dir " + dir.path());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 2);
  EXPECT_THAT(outcome.out, StartsWith("{\"unix_time_ms\":"));
  EXPECT_THAT(outcome.out.substr(outcome.out.find('\n') + 1), StartsWith("{\"unix_time_ms\":"));
}

TEST(Nodecommctl, TopEndsIfThereIsNoDaemonAtItsStart) {
  const FakeRuntimeDir dir;
  EXPECT_EQ(RunProgram("top --runtime-dir " + dir.path()).exit_code, 1);
}

TEST(Nodecommctl, VersionIsSaidWithoutADaemonToo) {
  const Outcome outcome = RunProgram("version --json --runtime-dir /nonexistent");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.out, HasSubstr(kVersionLine));
  EXPECT_THAT(outcome.out, HasSubstr("\"daemon_error\": \"no nodecommd at"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("daemon_version_line")));
}

TEST(Nodecommctl, DoctorFindsThatThereIsNoDaemonAndSaysWhatToDo) {
  for (const char* form : {"doctor", "doctor --json"}) {
    const Outcome outcome = RunProgram(std::string(form) + " --runtime-dir /nonexistent");
    EXPECT_EQ(outcome.exit_code, 6);
    EXPECT_THAT(outcome.out, HasSubstr("no nodecommd at /nonexistent/admin/admin.sock"));
    EXPECT_THAT(outcome.out, HasSubstr("/nonexistent is not there: start nodecommd"));
  }
}

TEST(Nodecommctl, DoctorLooksAtADaemonOfAnEarlierVersionToo) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers;
  answers.status.set_pid(42);
  answers.status.mutable_version()->set_major(kVersionMajor + 1);
  answers.older = true;
  const FakeAdmin admin(dir, answers);
  const Outcome outcome = RunProgram("doctor --runtime-dir " + dir.path());
  EXPECT_THAT(outcome.out, HasSubstr("nodecommd answers, pid 42"));
  EXPECT_THAT(outcome.out, HasSubstr("restart the daemon after an upgrade"));
  EXPECT_THAT(outcome.out, HasSubstr("limits        skipped  the daemon is of an earlier version"));
}

TEST(Nodecommctl, ProvesPairsAndTellsTheOutcomeByItsExitCode) {
  const struct {
    v1::ProofVerdict second;
    int exit_code;
  } cases[] = {{v1::PROOF_VERDICT_PROVEN, 0},
               {v1::PROOF_VERDICT_FAILED, 3},
               {v1::PROOF_VERDICT_UNPROVEN, 4}};
  for (const auto& test : cases) {
    const FakeRuntimeDir dir;
    const FakeAdmin admin(dir, AnswersWithVerdicts(v1::PROOF_VERDICT_PROVEN, test.second));
    const Outcome outcome = RunProgram("p2p check --runtime-dir " + dir.path());
    EXPECT_EQ(outcome.exit_code, test.exit_code) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("GPU1  GPU0"));
    EXPECT_EQ(outcome.err, "0 of 2 pairs\n1 of 2 pairs\n2 of 2 pairs\n");
    EXPECT_FALSE(admin.forced());
    EXPECT_EQ(RunProgram("p2p check --force --json --runtime-dir " + dir.path()).exit_code,
              test.exit_code);
    EXPECT_TRUE(admin.forced());
  }
}

constexpr char kNotAllProven[] = "Not all pairs of GPUs are proven: see nodecommctl p2p show.\n";

TEST(Nodecommctl, UndrainTellsByItsExitCodeWhetherTheGpuHasItsProofs) {
  const struct {
    v1::ProofVerdict second;
    bool driver_trusted;
    int exit_code;
  } cases[] = {{v1::PROOF_VERDICT_PROVEN, false, 0},
               {v1::PROOF_VERDICT_FAILED, false, 3},
               {v1::PROOF_VERDICT_UNPROVEN, false, 4},
               {v1::PROOF_VERDICT_UNPROVEN, true, 0}};
  for (const auto& test : cases) {
    const FakeRuntimeDir dir;
    FakeAdminAnswers answers = AnswersWithVerdicts(v1::PROOF_VERDICT_PROVEN, test.second);
    answers.topology.set_driver_trusted(test.driver_trusted);
    const FakeAdmin admin(dir, answers);
    const Outcome outcome = RunProgram("undrain --gpu 1 --runtime-dir " + dir.path());
    EXPECT_EQ(outcome.exit_code, test.exit_code) << outcome.err;
    EXPECT_EQ(outcome.out, absl::StrCat("GPU 1 is back in service.\n",
                                        test.exit_code == 0 ? "" : kNotAllProven));
  }
}

TEST(Nodecommctl, NobodyMissesProofsOfAGpuThatIsDrained) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers =
      AnswersWithVerdicts(v1::PROOF_VERDICT_PROVEN, v1::PROOF_VERDICT_PROVEN);
  v1::Gpu* const drained = answers.topology.mutable_host()->add_gpus();
  drained->set_uuid("GPU-c");
  drained->set_condition(v1::GPU_CONDITION_DRAINING);
  v1::PeerProof* const proof = answers.topology.add_proofs();
  proof->set_from_uuid("GPU-a");
  proof->set_to_uuid("GPU-c");
  proof->set_verdict(v1::PROOF_VERDICT_UNPROVEN);
  const FakeAdmin admin(dir, answers);
  EXPECT_EQ(RunProgram("p2p check --runtime-dir " + dir.path()).exit_code, 0);
  const Outcome undrain = RunProgram("undrain --gpu 1 --runtime-dir " + dir.path());
  EXPECT_EQ(undrain.exit_code, 0);
  EXPECT_EQ(undrain.out, "GPU 1 is back in service.\n");
}

TEST(Nodecommctl, DrainTellsByItsExitCodeThatTheGpuIsStillHeld) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers = SomeAnswers();
  answers.drained_after = 2;
  const FakeAdmin admin(dir, answers);
  const std::string drain = "drain --gpu 0 --timeout 0 --runtime-dir " + dir.path();
  EXPECT_EQ(RunProgram(drain).exit_code, 5);
  EXPECT_EQ(RunProgram(drain).exit_code, 0);
}

TEST(Nodecommctl, ChangesTellByTheirExitCodeThatAnotherAdministratorDidTheOpposite) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers = SomeAnswers();
  answers.drained_after = 1000;
  answers.taken_back = true;
  answers.topology.set_driver_trusted(true);
  answers.topology.mutable_host()->mutable_gpus(0)->set_condition(v1::GPU_CONDITION_DRAINING);
  const FakeAdmin admin(dir, answers);
  const Outcome drain = RunProgram("drain --gpu 0 --runtime-dir " + dir.path());
  EXPECT_EQ(drain.exit_code, 7) << drain.err;
  EXPECT_THAT(drain.err, HasSubstr("another administrator has taken it back"));
  const Outcome undrain = RunProgram("undrain --gpu 0 --runtime-dir " + dir.path());
  EXPECT_EQ(undrain.exit_code, 7) << undrain.err;
  EXPECT_THAT(undrain.out, HasSubstr("drained again"));
}

TEST(Nodecommctl, DrainThatIsInterruptedSaysThatTheGpuGoesOnDraining) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers = SomeAnswers();
  answers.drained_after = 1'000'000;
  const FakeAdmin admin(dir, answers);
  const std::string pid_file = dir.path() + "/pid";
  Outcome outcome;
  std::thread drain([&] {
    outcome = RunProgram("drain --gpu 0 --runtime-dir " + dir.path(),
                         "sh -c 'echo $$ >" + pid_file + R"(; exec "$0" "$@"')");
  });
  while (admin.drains() == 0) absl::SleepFor(absl::Milliseconds(1));  // ctest bounds it
  kill(std::stoi(Contents(pid_file)), SIGTERM);
  drain.join();
  EXPECT_EQ(outcome.exit_code, 128 + SIGTERM);
  // The shell has its say afterwards.
  EXPECT_THAT(outcome.err, StartsWith("nodecommctl: interrupted, and GPU 0 goes on draining: drain "
                                      "waits for it, undrain takes it back\n"));
}

TEST(Nodecommctl, DoesNotWaitForEverForProofs) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers =
      AnswersWithVerdicts(v1::PROOF_VERDICT_PROVEN, v1::PROOF_VERDICT_PROVEN);
  answers.topology.mutable_check()->set_pairs_total(1000000);
  const FakeAdmin admin(dir, answers);
  const Outcome outcome = RunProgram("p2p check --timeout 1 --runtime-dir " + dir.path());
  EXPECT_EQ(outcome.exit_code, 4) << "the daemon has answered";
  EXPECT_THAT(outcome.err, HasSubstr("the daemon goes on"));
}

TEST(Nodecommctl, ExplainsAPair) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers =
      AnswersWithVerdicts(v1::PROOF_VERDICT_PROVEN, v1::PROOF_VERDICT_PROVEN);
  answers.fast_path.mutable_fast_path()->set_supported(true);
  const FakeAdmin admin(dir, answers);
  const Outcome outcome = RunProgram("topo --why GPU-b 0 --runtime-dir " + dir.path());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("Fast path: yes"));
  EXPECT_THAT(admin.asked(), testing::ElementsAre("GPU-b", "GPU-a"));
  const Outcome json = RunProgram("topo --why GPU-b 0 --json --runtime-dir " + dir.path());
  EXPECT_EQ(json.exit_code, 0) << json.err;
  const size_t b_first = json.out.find("\"uuid\": \"GPU-b\"");
  EXPECT_LT(b_first, json.out.find("\"uuid\": \"GPU-a\""));
  EXPECT_LT(json.out.find("\"from_uuid\": \"GPU-b\""), json.out.find("\"from_uuid\": \"GPU-a\""));
  EXPECT_THAT(json.out, HasSubstr("\"verdict\": \"PROOF_VERDICT_PROVEN\""));
  EXPECT_THAT(json.out, HasSubstr("\"supported\": true"));
  for (const char* names : {"GPU-c 0", "1 1", "0"}) {
    const Outcome wrong =
        RunProgram(std::string("topo --runtime-dir ") + dir.path() + " --why " + names);
    EXPECT_EQ(wrong.exit_code, 2) << names;
  }
  EXPECT_THAT(RunProgram("topo --why 7 0 --runtime-dir " + dir.path()).err, HasSubstr("GPU-b"));
}

TEST(Nodecommctl, ColoursOnlyWhereItIsAsked) {
  const FakeRuntimeDir dir;
  const FakeAdmin admin(dir,
                        AnswersWithVerdicts(v1::PROOF_VERDICT_PROVEN, v1::PROOF_VERDICT_FAILED));
  const std::string command = "p2p show --runtime-dir " + dir.path();
  EXPECT_THAT(RunProgram(command).out, Not(HasSubstr("\033[")));
  EXPECT_THAT(RunProgram(command + " --color never").out, Not(HasSubstr("\033[")));
  EXPECT_THAT(RunProgram(command + " --color always").out, HasSubstr("\033[31mFAILED"));
  EXPECT_THAT(RunProgram(command + " --json --color always").out, Not(HasSubstr("\033[")));
  EXPECT_EQ(RunProgram(command + " --color mauve").exit_code, 2);
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
  for (const char* arguments : {"", "tpoo", "abort ''", "topo --jsn", "topo pools", "topo extra",
                                "topo --dump --json", "--runtime-dir"}) {
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
  for (const char* command : {"topo", "status", "groups", "pools", "sessions", "config", "doctor",
                              "top", "version", "abort"}) {
    EXPECT_THAT(help.out, HasSubstr(command));
  }
  const Outcome version = RunProgram("--version");
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.out, std::string("nodecommctl ") + kVersionLine + "\n");
}

}  // namespace
}  // namespace nodecomm
