// What administrators are answered, without gRPC.
#include "daemon/service/daemon_view.h"

#include "tests/daemon/service/fakes.h"
#include "tests/support/no_threads.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

v1::Host TwoGpus() {
  v1::Host host;
  for (const char* uuid : {"GPU-a", "GPU-b"}) host.add_gpus()->set_uuid(uuid);
  return host;
}

v1::CheckPeersRequest Forced() {
  v1::CheckPeersRequest request;
  request.set_force(true);
  return request;
}

class CheckPeersTest : public testing::Test {
 protected:
  CheckPeersTest() { view_.prover = &prover_; }

  const TemporaryDirectory dir_;
  HostState host_{TwoGpus()};
  FakePairProbe probe_;
  PeerProver prover_{{.cache_path = dir_.path() + "/peer-access.textproto"}, &host_, &probe_};
  DaemonView view_;
};

TEST_F(CheckPeersTest, ProofsThatAreForcedAreRefusedWithoutAThread) {
  {
    const NoThreads none;
    EXPECT_THAT(AnswerCheckPeers(view_, Forced()),
                StatusIs(absl::StatusCode::kResourceExhausted,
                         AllOf(HasSubstr("nothing is proven anew, and what was proven stays"),
                               HasSubstr("starting a thread"), HasSubstr("TasksMax="))));
  }
  const auto answer = AnswerCheckPeers(view_, Forced());
  ASSERT_OK(answer);
  EXPECT_TRUE(answer->started());
}

// Who asks for those that are missing sees the reason at each pair.
TEST_F(CheckPeersTest, ProofsThatAreMissingSayThatThereIsNoThread) {
  {
    const NoThreads none;
    const auto answer = AnswerCheckPeers(view_, {});
    ASSERT_OK(answer);
    EXPECT_FALSE(answer->started());
  }
  const v1::PeerProofs proofs = host_.proofs();
  ASSERT_EQ(proofs.proofs_size(), 2);
  EXPECT_THAT(proofs.proofs(0).reason(), HasSubstr("starting a thread"));
}

}  // namespace
}  // namespace nodecomm
