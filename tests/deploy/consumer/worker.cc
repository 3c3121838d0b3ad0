// One rank of a group: worker_cpp RANK WORLD_SIZE. As worker.c, with the C++ API; a group may have
// ranks of both.
#include <cstdio>
#include <cstdlib>
#include <nodecomm/nodecomm.hpp>
#include <vector>

namespace {

nodecomm::Status Sum(int rank, int world_size, std::vector<float>& values) {
  nodecomm::Options options;
  options.name = "consumer";
  options.world_size = world_size;
  options.rank = rank;
  options.device = rank;
  nodecomm::Result<nodecomm::Communicator> comm = nodecomm::Communicator::Create(options);
  if (!comm.ok()) return comm.status();
  const nodecomm::Status summed =
      comm->AllReduce(values.data(), values.data(), values.size(), nodecomm::DataType::kFloat32,
                      nodecomm::ReduceOp::kSum, nullptr);
  return summed.ok() ? comm->Leave() : summed;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int rank = std::atoi(argv[1]);
  std::vector<float> values(256, static_cast<float>(rank + 1));
  const nodecomm::Status status = Sum(rank, std::atoi(argv[2]), values);
  if (!status.ok()) {
    std::fprintf(stderr, "rank %d: %s\n", rank, status.ToString().c_str());
    return 1;
  }
  std::printf("%g\n", values[0]);
  return 0;
}
