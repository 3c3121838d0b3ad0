// What is kept of proofs, and what is believed of what was kept.
#include "daemon/proof/proof_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "daemon/proof/proofs_text.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

v1::PeerProof Proof(const std::string& from, const std::string& to, v1::ProofVerdict verdict) {
  v1::PeerProof proof;
  proof.set_from_uuid(from);
  proof.set_to_uuid(to);
  proof.set_verdict(verdict);
  proof.set_bytes_checked(64 << 20);
  proof.set_write_gigabytes_per_second(354.25);
  return proof;
}

v1::PeerProofs SomeProofs() {
  v1::PeerProofs proofs;
  proofs.set_boot_id("boot");
  proofs.set_driver_version("580");
  *proofs.add_proofs() = Proof("GPU-a", "GPU-b", v1::PROOF_VERDICT_PROVEN);
  *proofs.add_proofs() = Proof("GPU-b", "GPU-a", v1::PROOF_VERDICT_FAILED);
  return proofs;
}

v1::Host HostWith(const std::vector<std::string>& uuids) {
  v1::Host host;
  host.set_driver_version("580");
  for (const std::string& uuid : uuids) host.add_gpus()->set_uuid(uuid);
  return host;
}

class ProofCache : public testing::Test {
 protected:
  void Fill(const std::string& text) { std::ofstream(path_) << text; }
  TemporaryDirectory directory_;
  const std::string path_ = directory_.path() + "/peer-access.textproto";
};

TEST_F(ProofCache, GivesBackWhatWasWritten) {
  ASSERT_OK(WriteProofCache(path_, SomeProofs()));
  const auto read = ReadProofCache(path_);
  ASSERT_OK(read);
  EXPECT_EQ(PrintProofs(*read), PrintProofs(SomeProofs()));
}

TEST_F(ProofCache, IsForTheDaemonAlone) {
  ASSERT_OK(WriteProofCache(path_, SomeProofs()));
  struct stat info;
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600);
}

TEST_F(ProofCache, LeavesNothingElseBehind) {
  std::ofstream(path_ + ".new") << "of a daemon that was killed";
  ASSERT_OK(WriteProofCache(path_, SomeProofs()));
  ASSERT_OK(WriteProofCache(path_, SomeProofs()));
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
    EXPECT_EQ(entry.path(), path_);
    ++files;
  }
  EXPECT_EQ(files, 1u);
}

TEST_F(ProofCache, ThatCannotBeWrittenSaysSo) {
  const std::string nowhere = directory_.path() + "/missing/peer-access.textproto";
  const absl::Status written = WriteProofCache(nowhere, SomeProofs());
  EXPECT_FALSE(written.ok());
  EXPECT_THAT(std::string(written.message()), HasSubstr(nowhere));
}

TEST_F(ProofCache, ThatIsNotThereIsNotFound) {
  EXPECT_EQ(ReadProofCache(path_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ProofCache, ThatIsDamagedIsRefused) {
  const std::string whole = PrintProofs(SomeProofs());
  for (const std::string& text : {std::string("proofs { from_uuid: \"GPU-a"), std::string(),
                                  std::string("\0\xff\x01 rubbish", 10), whole.substr(0, 60),
                                  whole + "unheard_of: 1", std::string(5 << 20, '#')}) {
    Fill(text);
    EXPECT_EQ(ReadProofCache(path_).status().code(), absl::StatusCode::kInvalidArgument)
        << text.substr(0, 80);
  }
}

TEST_F(ProofCache, IsNotReadThroughALink) {
  const std::string elsewhere = directory_.path() + "/elsewhere";
  ASSERT_OK(WriteProofCache(elsewhere, SomeProofs()));
  std::filesystem::create_symlink(elsewhere, path_);
  EXPECT_FALSE(ReadProofCache(path_).ok());
}

TEST(StillValid, KeepsWhatHolds) {
  EXPECT_THAT(StillValid(SomeProofs(), "boot", HostWith({"GPU-a", "GPU-b"})).proofs(), SizeIs(2));
}

TEST(StillValid, ForgetsOtherBootsDriversAndGpus) {
  const v1::Host host = HostWith({"GPU-a", "GPU-b"});
  EXPECT_THAT(StillValid(SomeProofs(), "another", host).proofs(), IsEmpty());
  v1::Host updated = host;
  updated.set_driver_version("581");
  EXPECT_THAT(StillValid(SomeProofs(), "boot", updated).proofs(), IsEmpty());
  EXPECT_THAT(StillValid(SomeProofs(), "boot", HostWith({"GPU-a", "GPU-c"})).proofs(), IsEmpty());
}

TEST(StillValid, SaysWhatTheRestHoldsFor) {
  const v1::PeerProofs valid = StillValid({}, "boot", HostWith({}));
  EXPECT_EQ(valid.boot_id(), "boot");
  EXPECT_EQ(valid.driver_version(), "580");
}

TEST(StillValid, DropsWhatSaysNothingOfTheHardware) {
  v1::PeerProofs cached = SomeProofs();
  cached.mutable_proofs(0)->set_verdict(v1::PROOF_VERDICT_UNPROVEN);
  cached.mutable_proofs(1)->clear_verdict();
  EXPECT_THAT(StillValid(cached, "boot", HostWith({"GPU-a", "GPU-b"})).proofs(), IsEmpty());
}

TEST(StillValid, TakesOneProofOfAPair) {
  v1::PeerProofs cached = SomeProofs();
  *cached.add_proofs() = Proof("GPU-b", "GPU-a", v1::PROOF_VERDICT_PROVEN);
  const v1::PeerProofs valid = StillValid(cached, "boot", HostWith({"GPU-a", "GPU-b"}));
  ASSERT_THAT(valid.proofs(), SizeIs(2));
  EXPECT_EQ(valid.proofs(1).verdict(), v1::PROOF_VERDICT_FAILED);
}

}  // namespace
}  // namespace nodecomm
