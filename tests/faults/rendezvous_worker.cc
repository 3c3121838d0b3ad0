// A rank that forms a group, reduces once, shares a buffer and leaves, each time that it is told
// to, and says what came of it. One process for many rendezvous, each with a session of its own.
// Driven by rendezvous_fault_test.cc; design note: tests/faults/README.md.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "client/include/nodecomm/nodecomm.hpp"

namespace nodecomm {
namespace {

constexpr size_t kCount = 1000;
// Not a plane's size, so that it is made for the purpose.
constexpr size_t kSharedBytes = size_t{4} << 20;
constexpr int kExitWrongSum = 3;

struct Place {
  std::string runtime_dir;
  int rank = 0;
  int world_size = 0;
};

void CheckSums(const Place& place, const std::vector<float>& sums) {
  const int sum = place.world_size * (place.world_size + 1) / 2;
  for (const float element : sums) {
    if (element != static_cast<float>(sum)) std::exit(kExitWrongSum);
  }
}

// The communicator ends with it, and with the communicator the session.
Status Meet(const Place& place, const std::string& name, int64_t timeout_ms) {
  Options options;
  options.name = name;
  options.runtime_dir = place.runtime_dir;
  options.rank = place.rank;
  options.world_size = place.world_size;
  options.device = place.rank;
  options.rendezvous_timeout_ms = timeout_ms;
  options.call_timeout_ms = timeout_ms;
  Result<Communicator> comm = Communicator::Create(options);
  if (!comm.ok()) return comm.status();
  const std::vector<float> in(kCount, static_cast<float>(place.rank + 1));
  std::vector<float> out(kCount);
  Status reduced =
      comm->AllReduce(in.data(), out.data(), kCount, DataType::kFloat32, ReduceOp::kSum, nullptr);
  if (!reduced.ok()) return reduced;
  CheckSums(place, out);
  Result<SharedBuffer> shared = comm->AllocateShared(kSharedBytes);
  if (!shared.ok()) return shared.status();
  shared->Free();
  return comm->Leave();
}

int Main(int argc, char** argv) {
  if (argc != 4) return 2;
  const Place place = {
      .runtime_dir = argv[1], .rank = std::atoi(argv[2]), .world_size = std::atoi(argv[3])};
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string name;
    int64_t timeout_ms = 0;
    words >> name >> timeout_ms;
    std::cout << Meet(place, name, timeout_ms).ToString() << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace nodecomm

int main(int argc, char** argv) { return nodecomm::Main(argc, argv); }
