// A program in C++17, without exceptions, that uses the public header alone: two ranks as threads,
// an all-reduce and a shared buffer. Expects a simulated host in NODECOMM_RUNTIME_DIR. Exit code 0:
// all was as expected.
#include <cstdio>
#include <cstdlib>
#include <nodecomm/nodecomm.hpp>
#include <thread>
#include <vector>

namespace {

void Require(const nodecomm::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

void RunRank(const nodecomm::Key& key, int rank) {
  nodecomm::Options options;
  options.name = "cpp-program";
  options.key = key;
  options.world_size = 2;
  options.rank = rank;
  options.device = rank;
  nodecomm::Result<nodecomm::Communicator> created = nodecomm::Communicator::Create(options);
  Require(created.status());
  nodecomm::Communicator comm = *std::move(created);  // movable
  Require(comm.Supports(4000, nodecomm::DataType::kFloat32), "support");
  Require(comm.GetAlgorithm(4000, nodecomm::DataType::kFloat32) != nodecomm::Algorithm::kAuto,
          "algorithm");
  std::vector<float> values(1000, static_cast<float>(rank + 1));
  Require(comm.AllReduce(values.data(), values.data(), values.size(), nodecomm::DataType::kFloat32,
                         nodecomm::ReduceOp::kSum, nullptr));
  for (const float value : values) Require(value == 3, "sum");
  Require(comm.GetStatus());  // nobody leaves before the next call
  nodecomm::Result<nodecomm::SharedBuffer> shared = comm.AllocateShared(4096);
  Require(shared.status());
  Require(shared->bytes() == 4096 && shared->pointer(1) != nullptr, "shared buffer");
  shared->Free();
  Require(comm.Leave());
}

}  // namespace

int main() {
  const nodecomm::Result<nodecomm::Key> key = nodecomm::RandomKey();
  Require(key.status());
  std::thread peer([&] { RunRank(*key, 1); });
  RunRank(*key, 0);
  peer.join();
  std::puts("ok");
}
