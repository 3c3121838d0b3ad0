// nodecomm-perf: measures and checks all-reduce on this host. The command line.
// Not a stress test of the daemon, and no part of libnodecomm: it uses the public C API alone.
// Design note: client/perf/README.md.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "client/base/standard_streams.h"
#include "client/perf/plot.h"
#include "client/perf/run.h"
#include "client/perf/sizes.h"
#include "client/perf/types.h"
#include "client/reference/reference.h"
#include "client/reference/runtime_dir_option.h"

namespace nodecomm::perf {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

// Option texts as given, before they are understood.
struct Texts {
  std::string bytes_min = "1K";
  std::string bytes_max = "64M";
  std::string plane_bytes = "0";
  std::vector<std::string> types{"f32"};
  std::string mode;
  std::string versus;
  std::string algorithm = "auto";
};

void AddOptions(CLI::App* app, Options* options, Texts* texts) {
  app->add_option("-n,--ranks", options->ranks.value, "Worker processes to start")
      ->check(CLI::Range(1, kWorldSizeMax))
      ->capture_default_str();
  app->add_option("-b,--min-bytes", texts->bytes_min, "Smallest message; K, M and G are understood")
      ->capture_default_str();
  app->add_option("-e,--max-bytes", texts->bytes_max, "Largest message")->capture_default_str();
  app->add_option("-f,--step-factor", options->step_factor,
                  "Each size is this times the last. Default: 2, and with --sweep the midpoints "
                  "between as well")
      ->check(CLI::Range(2, 1024));
  app->add_option(
         "-d,--type", texts->types,
         "Element type: float (f32, float32), half (f16, float16), bf16 (bfloat16); several "
         "with commas")
      ->delimiter(',')
      ->capture_default_str();
  app->add_option("--mode", texts->mode,
                  "graph: calls captured in a CUDA graph and replayed; eager: launched one by one. "
                  "Default: graph on GPUs, eager on a simulated host")
      ->check(CLI::IsMember({"graph", "eager"}));
  CLI::Option* algorithm =
      app->add_option("--algorithm", texts->algorithm, "One algorithm for every size")
          ->check(CLI::IsMember({"auto", "one_shot", "two_shot"}))
          ->capture_default_str();
  CLI::Option* sweep =
      app->add_flag("--sweep", options->sweep,
                    "Measure every size with every algorithm, one group after the other; say which "
                    "is the fastest, what auto loses against it, and up to which size one_shot is")
          ->excludes(algorithm);
  app->add_flag("--check", options->check, "Compare every result, bit for bit");
  app->add_flag("--in-place", options->in_place, "Input and output are the same buffer");
  app->add_option("--iters", options->repetitions, "Repetitions; the median is reported")
      ->check(CLI::Range(1, 100000));
  app->add_option("--warmup", options->warmup, "Repetitions before those that count")
      ->check(CLI::Range(0, 100000));
  app->add_option("--plane-bytes", texts->plane_bytes,
                  "Scratch memory of each rank; 0: the daemon's default")
      ->capture_default_str();
  app->add_option(
         "--gpus", options->gpus,
         "GPUs to spread the ranks over. Default: all that CUDA sees; on a simulated host, "
         "as many as ranks")
      ->check(CLI::Range(1, 1024));
  app->add_option("--vs", texts->versus,
                  "Also measure this library: nccl (libnccl.so.2, or $NODECOMM_NCCL_LIB)")
      ->check(CLI::IsMember({"nccl"}));
  CLI::Option* random =
      app->add_option(
             "--random", options->random_calls,
             "Instead of the table: so many calls of random size, type and placement, each checked")
          ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 40))
          ->excludes(sweep);
  app->add_option("--seed", options->seed, "Chooses the random calls")->capture_default_str();
  CLI::Option* json =
      app->add_option("--json", options->json_path, "Also write the results to this file")
          ->type_name("FILE");
  CLI::Option* plot = app->add_option("--plot", options->plot_path,
                                      "Also draw latency over message size, as an SVG file")
                          ->type_name("FILE")
                          ->excludes(random);
  app->add_option("--from", options->from_path,
                  "Run nothing: draw --plot from the results that --json wrote earlier")
      ->type_name("FILE")
      ->needs(plot)
      ->excludes(sweep)
      ->excludes(random)
      ->excludes(json);
  AddRuntimeDirOption(*app, options->runtime_dir,
                      "Directory of the daemon's sockets (default: /run/nodecomm)");
  app->set_version_flag("--version", std::string("nodecomm-perf ") + nodecomm_version());
  app->footer(
      "The daemon nodecommd must be running, except with --from.\n"
      "Exit codes: 0 all well; 1 something failed or an element was wrong; 2 usage.");
}

// Puts a value where it belongs, or throws what CLI11 reports as an error of that option.
template <typename T>
T ValueOrUsage(const absl::StatusOr<T>& value, const std::string& option) {
  if (!value.ok()) throw CLI::ValidationError(option, std::string(value.status().message()));
  return *value;
}

void Understand(const Texts& texts, Options* options) {
  options->bytes_min = ValueOrUsage(ParseBytes(texts.bytes_min), "-b");
  options->bytes_max = ValueOrUsage(ParseBytes(texts.bytes_max), "-e");
  options->plane_bytes = ValueOrUsage(ParseBytes(texts.plane_bytes), "--plane-bytes");
  options->types.clear();
  for (const std::string& type : texts.types) {
    options->types.push_back(ValueOrUsage(ParseType(type), "-d"));
  }
  if (!texts.mode.empty()) {
    options->mode = texts.mode == "graph" ? Mode::kGraph : Mode::kEager;
  }
  options->compare_nccl = texts.versus == "nccl";
  if (texts.algorithm == "one_shot") options->algorithm = NODECOMM_ALGORITHM_ONE_SHOT;
  if (texts.algorithm == "two_shot") options->algorithm = NODECOMM_ALGORITHM_TWO_SHOT;
  if (options->sweep && options->ranks.value == 1) {
    throw CLI::ValidationError("--sweep", "one rank has one algorithm: give -n 2 or more");
  }
  // Every usage error before any process is started.
  if (options->random_calls == 0) ValueOrUsage(ListCases(*options), "-b, -e, -d");
}

constexpr ManualTexts kManual = {
    .section = 1,
    .description =
        "nodecomm-perf starts worker processes that form a group and reduce, as an engine's "
        "workers "
        "would, and prints a line a size and type: time, bandwidth and, if asked, whether every "
        "element was right. With --sweep it compares the algorithms; with --plot it draws what it "
        "measured.",
    .files = "/run/nodecomm/session.sock, /run/nodecomm/control.sock",
    .see_also = "nodecommctl(1), nodecommd(8)"};

int Main(int argc, char** argv) {
  CLI::App app("Measures and checks all-reduce between the GPUs of this host.", "nodecomm-perf");
  Options options;
  Texts texts;
  AddOptions(&app, &options, &texts);
  std::string reference;
  AddReferenceOption(app, reference);
  try {
    app.parse(argc, argv);
    if (!reference.empty()) {
      std::fputs(RenderReference(app, reference, kManual).c_str(), stdout);
      return kExitOk;
    }
    Understand(texts, &options);
  } catch (const CLI::ParseError& error) {
    return PrintOutcome(app, error) ? kExitOk : kExitUsage;
  }
  const absl::Status status =
      options.from_path.empty() ? Run(options) : PlotFile(options.from_path, options.plot_path);
  if (status.ok()) return kExitOk;
  std::fprintf(stderr, "nodecomm-perf: %s\n", std::string(status.message()).c_str());
  return kExitFailed;
}

}  // namespace
}  // namespace nodecomm::perf

int main(int argc, char** argv) {
  nodecomm::OpenMissingStandardStreams(nodecomm::Missing::kFailsWrites);
  const int exit_code = nodecomm::perf::Main(argc, argv);
  const absl::Status written = nodecomm::FlushStandardOutput();
  if (written.ok()) return exit_code;
  std::fprintf(stderr, "nodecomm-perf: results are lost: %s\n",
               std::string(written.message()).c_str());
  return exit_code == nodecomm::perf::kExitOk ? nodecomm::perf::kExitFailed : exit_code;
}
