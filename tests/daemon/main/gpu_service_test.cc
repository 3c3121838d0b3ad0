// Which part is told what when a GPU is taken out of service and back.
#include "daemon/main/gpu_service.h"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/main/drained_gpus.h"
#include "tests/daemon/service/fakes.h"
#include "tests/support/fake_plane_source.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr absl::Duration kLong = absl::Seconds(20);

// What is logged while it lives.
class CapturedLog {
 public:
  CapturedLog() {
    auto logger = std::make_shared<spdlog::logger>(
        "captured", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_));
    logger->set_pattern("%v");
    spdlog::set_default_logger(std::move(logger));
  }
  ~CapturedLog() { spdlog::set_default_logger(before_); }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;

  std::vector<std::string> lines() const {
    return absl::StrSplit(text_.str(), '\n', absl::SkipEmpty());
  }

 private:
  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
  std::ostringstream text_;
};

class ProvesAll final : public PairProbe {
 public:
  absl::StatusOr<std::vector<v1::PeerProof>> Prove(const GpuPair& pair,
                                                   const absl::Notification&) override {
    std::vector<v1::PeerProof> proofs = Unproven(pair, "");
    for (v1::PeerProof& proof : proofs) proof.set_verdict(v1::PROOF_VERDICT_PROVEN);
    return proofs;
  }
};

constexpr char kGpu0[] = "GPU-51000000-0000-4000-8000-000000000000";
constexpr char kGpu1[] = "GPU-51000000-0000-4000-8000-000000000001";

class GpuServiceTest : public testing::Test {
 protected:
  GpuServiceTest() {
    auto pool = PlanePool::Create({.gpu_uuids = {kGpu0, kGpu1},
                                   .plane_bytes = 2_MiB,
                                   .planes_ready = 1,
                                   .bytes_per_gpu_max = 64_MiB},
                                  &source_);
    EXPECT_OK(pool);
    pool_ = *std::move(pool);
    EXPECT_TRUE(pool_->WaitUntilFilled(kLong));
    Restart({});
  }

  static v1::Host TwoGpus() {
    v1::Host host;
    for (int gpu = 0; gpu < 2; ++gpu) host.add_gpus()->set_uuid(gpu == 0 ? kGpu0 : kGpu1);
    return host;
  }
  void Restart(std::set<std::string> drained) {
    service_ = std::make_unique<GpuService>(
        GpuService::Parts{.host = &host_,
                          .groups = &groups_,
                          .pool = pool_.get(),
                          .source = &source_,
                          .prover = &prover_},
        [this](GpuService::WatcherNews news) -> absl::StatusOr<std::unique_ptr<GpuWatcher>> {
          ++watcher_starts_;
          watcher_news_ = std::move(news);
          if (!watcher_.ok()) return watcher_;
          return nullptr;
        },
        [this] { read_host_(); }, path_, std::move(drained));
    EXPECT_OK(service_->Start());
  }
  absl::StatusOr<v1::DrainGpuResponse> Drain(const std::string& uuid) {
    v1::DrainGpuRequest request;
    request.set_gpu_uuid(uuid);
    return service_->Drain(request);
  }
  absl::Status Undrain(const std::string& uuid) {
    v1::UndrainGpuRequest request;
    request.set_gpu_uuid(uuid);
    return service_->Undrain(request).status();
  }
  bool IsOpen(const std::string& uuid) { return pool_->Acquire(uuid, 2_MiB).ok(); }

  TemporaryDirectory directory_;
  const std::string path_ = directory_.path() + "/drained-gpus";
  HostState host_{TwoGpus()};
  FakePlaneSource source_{{kGpu0, kGpu1}};
  FakeGroupRegistry groups_;
  ProvesAll probe_;
  PeerProver prover_{{.cache_path = directory_.path() + "/proofs"}, &host_, &probe_};
  std::unique_ptr<PlanePool> pool_;
  absl::Status watcher_;
  int watcher_starts_ = 0;
  GpuService::WatcherNews watcher_news_;
  std::function<void()> read_host_ = [] {};
  std::unique_ptr<GpuService> service_;
};

TEST_F(GpuServiceTest, HostIsNotReadWhileAGpuIsDrained) {
  EXPECT_TRUE(service_->ReadUnlessDrained([] {}));
  EXPECT_OK(Drain(kGpu1));
  EXPECT_FALSE(service_->ReadUnlessDrained([] {}));
  EXPECT_OK(Undrain(kGpu1));
  EXPECT_TRUE(service_->ReadUnlessDrained([] {}));
}

TEST_F(GpuServiceTest, IsNotDrainedBeforeAReadingThatWasUnderWayHasEnded) {
  service_->ReadUnlessDrained([this] {
    const auto drained = Drain(kGpu1);
    ASSERT_OK(drained);
    EXPECT_FALSE(drained->drained());
  });
  const auto drained = Drain(kGpu1);
  ASSERT_OK(drained);
  EXPECT_TRUE(drained->drained());
}

TEST_F(GpuServiceTest, IsNotDrainedWhileMemoryIsBeingMadeThere) {
  source_.Hold();
  const int calls = source_.calls();
  std::thread caller([this] { EXPECT_FALSE(pool_->Acquire(kGpu1, 6_MiB).ok()); });
  source_.WaitForCalls(calls + 1);
  const auto draining = Drain(kGpu1);
  source_.LetGo();
  caller.join();
  ASSERT_OK(draining);
  EXPECT_FALSE(draining->drained());
  const auto drained = Drain(kGpu1);
  ASSERT_OK(drained);
  EXPECT_TRUE(drained->drained());
}

TEST_F(GpuServiceTest, SaysWhyTheWatcherDoesNotWatch) {
  const CapturedLog log;
  watcher_news_("");
  EXPECT_EQ(service_->WhyErrorsAreNotWatched(), "");
  watcher_news_("it has crashed");
  EXPECT_EQ(service_->WhyErrorsAreNotWatched(), "it has crashed");
  watcher_news_("");
  EXPECT_EQ(service_->WhyErrorsAreNotWatched(), "");
  EXPECT_THAT(log.lines(), ElementsAre("it has crashed", "GPU errors are watched again"));
}

TEST_F(GpuServiceTest, SaysThatNoErrorsAreWatchedWhileAGpuIsDrained) {
  EXPECT_EQ(service_->WhyErrorsAreNotWatched(), "");
  const auto drained = Drain(kGpu1);
  ASSERT_OK(drained);
  EXPECT_THAT(drained->note(), HasSubstr("(Xid) are watched on no GPU"));
  EXPECT_EQ(service_->WhyErrorsAreNotWatched(), drained->note());
  EXPECT_OK(Undrain(kGpu1));
  EXPECT_EQ(service_->WhyErrorsAreNotWatched(), "");
}

TEST_F(GpuServiceTest, WhatIsDrainedIsWrittenDown) {
  EXPECT_OK(Drain(kGpu1));
  EXPECT_THAT(*ReadDrainedGpus(path_), ElementsAre(kGpu1));
  Restart(*ReadDrainedGpus(path_));
  EXPECT_EQ(watcher_starts_, 1) << "of the first daemon only";
  EXPECT_FALSE(service_->ReadUnlessDrained([] {}));
  EXPECT_OK(Undrain(kGpu1));
  EXPECT_THAT(*ReadDrainedGpus(path_), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(GpuServiceTest, DrainThatCouldNotBeWrittenDownSaysWhatItDid) {
  std::filesystem::create_directory(path_);
  const CapturedLog log;
  EXPECT_THAT(
      Drain(kGpu1).status().message(),
      AllOf(HasSubstr(kGpu1 + std::string(" is out of service, but that is not remembered")),
            HasSubstr(path_)));
  EXPECT_FALSE(Drain(kGpu1).ok()) << "nor the second time";
  EXPECT_FALSE(IsOpen(kGpu1)) << "it is drained all the same";
  std::filesystem::remove(path_);
  const auto drained = Drain(kGpu1);
  ASSERT_OK(drained);
  EXPECT_TRUE(drained->drained());
  EXPECT_THAT(log.lines(),
              ElementsAre("draining", HasSubstr("watched on no GPU"),
                          AllOf(HasSubstr("is not remembered over a restart"), HasSubstr(path_)),
                          "which GPUs are drained is remembered again"));
}

TEST_F(GpuServiceTest, UndrainThatCouldNotBeWrittenDownSaysWhatItDid) {
  EXPECT_OK(Drain(kGpu1));
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);
  EXPECT_THAT(Undrain(kGpu1).message(),
              AllOf(HasSubstr(kGpu1 + std::string(" is back in service, but")), HasSubstr(path_)));
  EXPECT_TRUE(IsOpen(kGpu1)) << "it is back all the same";
  std::filesystem::remove(path_);
  EXPECT_OK(Undrain(kGpu1));
}

TEST_F(GpuServiceTest, UndrainThatFailsMayBeTriedAgain) {
  EXPECT_OK(Drain(kGpu1));
  watcher_ = absl::ResourceExhaustedError("no thread");
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(Undrain(kGpu1), StatusIs(absl::StatusCode::kResourceExhausted));
    EXPECT_FALSE(IsOpen(kGpu1));
    EXPECT_FALSE(source_.Create(kGpu1, 2_MiB).ok()) << "nobody may hold it";
    EXPECT_THAT(service_->WhyErrorsAreNotWatched(), HasSubstr("while one is drained"));
    EXPECT_THAT(*ReadDrainedGpus(path_), ElementsAre(kGpu1));
  }
  watcher_ = absl::OkStatus();
  EXPECT_OK(Undrain(kGpu1));
  EXPECT_TRUE(IsOpen(kGpu1));
  ASSERT_TRUE(prover_.WaitUntilDone(kLong));
  EXPECT_EQ(host_.proofs().proofs_size(), 2) << "and proven";
}

TEST_F(GpuServiceTest, LostGpuIsNotCalledBackInService) {
  EXPECT_OK(Drain(kGpu1));
  read_host_ = [this] { host_.SetCondition(kGpu1, v1::GPU_CONDITION_LOST, "no answer"); };
  const CapturedLog log;
  EXPECT_OK(Undrain(kGpu1));
  EXPECT_THAT(log.lines(), ElementsAre("drained no more, but lost"));
}

TEST_F(GpuServiceTest, DrainedGpuThatIsGoneMayBeForgotten) {
  constexpr char kGone[] = "GPU-99999999-0000-4000-8000-000000000001";
  const CapturedLog log;
  Restart({kGone});
  EXPECT_FALSE(service_->ReadUnlessDrained([] {}));
  EXPECT_THAT(service_->DrainedAndGone(), ElementsAre(kGone));
  EXPECT_THAT(log.lines(), testing::Contains(HasSubstr("this host has no such GPU")));
  EXPECT_OK(Undrain(kGone));
  EXPECT_THAT(service_->DrainedAndGone(), IsEmpty());
  EXPECT_TRUE(service_->ReadUnlessDrained([] {}));
  EXPECT_THAT(*ReadDrainedGpus(path_), IsEmpty());
  EXPECT_THAT(Undrain(kGone), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(GpuServiceTest, DrainThatWaitsDoesNotUndoAnUndrain) {
  v1::DrainGpuRequest request;
  request.set_gpu_uuid(kGpu1);
  EXPECT_OK(service_->Drain(request));
  request.set_begun(true);
  EXPECT_OK(service_->Drain(request));
  EXPECT_OK(Undrain(kGpu1));
  EXPECT_THAT(service_->Drain(request),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("taken back")));
  EXPECT_TRUE(IsOpen(kGpu1));
}

TEST(DrainedGpus, DamagedFileIsNamed) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/drained-gpus";
  EXPECT_THAT(*ReadDrainedGpus(path), IsEmpty());
  for (const std::string& damaged : {std::string(), std::string("GPU-51000000-0000\n"),
                                     std::string(200, 'x'), absl::StrCat(kGpu0, "\n\1\2\n")}) {
    std::ofstream(path, std::ios::trunc) << damaged;
    EXPECT_THAT(ReadDrainedGpus(path),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path)));
  }
}

}  // namespace
}  // namespace nodecomm
