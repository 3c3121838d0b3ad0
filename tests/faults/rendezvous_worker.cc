// A rank that forms a group, reduces once, shares a buffer and leaves, each time that it is told
// to, and says what came of it. One process for many rendezvous, each with a session of its own.
// Driven by rendezvous_fault_test.cc; design note: tests/faults/README.md.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
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

Status Reduce(const Place& place, Communicator& comm) {
  const std::vector<float> in(kCount, static_cast<float>(place.rank + 1));
  std::vector<float> out(kCount);
  Status reduced =
      comm.AllReduce(in.data(), out.data(), kCount, DataType::kFloat32, ReduceOp::kSum, nullptr);
  if (reduced.ok()) CheckSums(place, out);
  return reduced;
}

class Rank {
 public:
  explicit Rank(Place place) : place_(std::move(place)) {}

  Status Do(const std::string& what, const std::string& name, int64_t timeout_ms) {
    if (what == "meet") return Meet(name, timeout_ms);
    if (what == "hold") return Hold(name, timeout_ms);
    if (what == "use") return Use(timeout_ms);
    if (what == "keep") return Keep(name, timeout_ms);
    if (what == "drop") return Drop();
    return Status(NODECOMM_INVALID_ARGUMENT, "no such command");
  }

 private:
  Options MakeOptions(const std::string& name, int64_t timeout_ms) const {
    Options options;
    options.name = name;
    options.runtime_dir = place_.runtime_dir;
    options.rank = place_.rank;
    options.world_size = place_.world_size;
    options.device = place_.rank;
    options.rendezvous_timeout_ms = timeout_ms;
    options.call_timeout_ms = timeout_ms;
    return options;
  }

  Result<Communicator> Create(const std::string& name, int64_t timeout_ms) const {
    return Communicator::Create(MakeOptions(name, timeout_ms));
  }

  // The communicator ends with it, and with the communicator the session.
  Status Meet(const std::string& name, int64_t timeout_ms) {
    Result<Communicator> comm = Create(name, timeout_ms);
    if (!comm.ok()) return comm.status();
    Status reduced = Reduce(place_, *comm);
    if (!reduced.ok()) return reduced;
    Status shared = Share(*comm);
    if (!shared.ok()) return shared;
    return comm->Leave();
  }

  Status Hold(const std::string& name, int64_t timeout_ms) {
    Result<Communicator> comm = Create(name, timeout_ms);
    if (!comm.ok()) return comm.status();
    held_ = *std::move(comm);
    return Reduce(place_, *held_);
  }

  // What is held, a last time, with a daemon that may just be coming back.
  Status Use(int64_t timeout_ms) {
    Communicator comm = *std::exchange(held_, std::nullopt);
    Status reduced = Reduce(place_, comm);
    if (!reduced.ok()) return reduced;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    Status shared = Share(comm);
    while (shared.code() == NODECOMM_UNAVAILABLE && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      shared = Share(comm);
    }
    if (!shared.ok()) return shared;
    return comm.Leave();
  }

  // A group of its own, so that the session outlives the others.
  Status Keep(const std::string& name, int64_t timeout_ms) {
    Options options = MakeOptions(name + "-" + std::to_string(place_.rank), timeout_ms);
    options.rank = 0;
    options.world_size = 1;
    Result<Communicator> comm = Communicator::Create(options);
    if (!comm.ok()) return comm.status();
    kept_ = *std::move(comm);
    return Status();
  }

  Status Drop() {
    kept_.reset();
    return Status();
  }

  static Status Share(Communicator& comm) { return comm.AllocateShared(kSharedBytes).status(); }

  const Place place_;
  std::optional<Communicator> held_;
  std::optional<Communicator> kept_;
};

int Main(int argc, char** argv) {
  if (argc != 4) return 2;
  Rank rank({.runtime_dir = argv[1], .rank = std::atoi(argv[2]), .world_size = std::atoi(argv[3])});
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string what;
    std::string name;
    int64_t timeout_ms = 0;
    words >> what >> name >> timeout_ms;
    std::cout << rank.Do(what, name, timeout_ms).ToString() << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace nodecomm

int main(int argc, char** argv) { return nodecomm::Main(argc, argv); }
