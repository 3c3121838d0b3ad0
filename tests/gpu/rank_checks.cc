#include "tests/gpu/rank_checks.h"

#include <algorithm>

#include "tests/gpu/sum_pattern.h"

namespace nodecomm {

Options RankOptions(const RankSpec& spec, const std::string& name, const std::string& runtime_dir) {
  Options options;
  options.name = name;
  options.world_size = spec.world_size;
  options.rank = spec.rank;
  options.device = spec.device;
  options.rendezvous_timeout_ms = 30000;
  options.call_timeout_ms = 20000;
  options.runtime_dir = runtime_dir;
  return options;
}

void MeetOthers(Communicator& comm, int world_size, const Workspace& work) {
  float sum = 1;
  void* data = work.memory.data();
  work.stream.Copy(data, &sum, sizeof(sum));
  ASSERT_THAT(comm.AllReduce(data, data, 1, DataType::kFloat32, ReduceOp::kSum, work.stream.get()),
              Succeeds());
  work.stream.Copy(&sum, data, sizeof(sum));
  work.stream.Synchronize();
  EXPECT_EQ(sum, static_cast<float>(world_size));
  EXPECT_THAT(comm.GetStatus(), Succeeds());
}

void ExpectSums(Communicator& comm, const RankSpec& spec, const Workspace& work) {
  constexpr DataType kType = DataType::kBfloat16;
  const SumPattern pattern(kType, spec.world_size);
  for (const size_t bytes : {size_t{1000}, size_t{6} << 20}) {
    const std::vector<uint8_t> in = Repeat(pattern.inputs[static_cast<size_t>(spec.rank)], bytes);
    void* data = work.memory.data();
    work.stream.Copy(data, in.data(), bytes);
    ASSERT_THAT(comm.AllReduce(data, data, bytes / ElementBytes(kType), kType, ReduceOp::kSum,
                               work.stream.get()),
                Succeeds());
    EXPECT_THAT(Download(work.stream, data, bytes), Repeats(pattern.sums)) << bytes;
  }
  EXPECT_THAT(comm.GetStatus(), Succeeds());
}

void ExpectSharedBuffers(Communicator& comm, const RankSpec& spec, const Workspace& work) {
  // Not a whole number of pages of any GPU.
  constexpr size_t kPart = (size_t{1} << 20) + 12;
  const size_t bytes = 2 * kPart * static_cast<size_t>(spec.world_size);
  Result<SharedBuffer> shared = comm.AllocateShared(bytes);
  ASSERT_THAT(shared.status(), Succeeds());
  EXPECT_EQ(shared->bytes(), bytes);
  const std::vector<uint8_t> fresh = Download(work.stream, shared->pointer(spec.rank), bytes);
  EXPECT_EQ(std::count(fresh.begin(), fresh.end(), 0), bytes);
  MeetOthers(comm, spec.world_size, work);  // all have looked

  // Into its part of every rank's buffer, half of it set, half of it copied from memory of its own.
  const auto set_value = [&](int from, int to) { return 16 * from + to + 1; };
  const auto copied_value = [&](int from, int to) { return 128 + 16 * from + to; };
  uint8_t* source = work.memory.data();
  for (int peer = 0; peer < spec.world_size; ++peer) {
    uint8_t* part =
        static_cast<uint8_t*>(shared->pointer(peer)) + 2 * kPart * static_cast<size_t>(spec.rank);
    CHECK_CUDA(cudaMemsetAsync(part, set_value(spec.rank, peer), kPart, work.stream.get()));
    CHECK_CUDA(cudaMemsetAsync(source, copied_value(spec.rank, peer), kPart, work.stream.get()));
    work.stream.Copy(part + kPart, source, kPart);
  }
  work.stream.Synchronize();
  MeetOthers(comm, spec.world_size, work);  // all have written

  const std::vector<uint8_t> after = Download(work.stream, shared->pointer(spec.rank), bytes);
  for (int peer = 0; peer < spec.world_size; ++peer) {
    const auto part = after.begin() + static_cast<ptrdiff_t>(2 * kPart * static_cast<size_t>(peer));
    const auto middle = part + static_cast<ptrdiff_t>(kPart);
    EXPECT_EQ(std::count(part, middle, set_value(peer, spec.rank)), kPart) << "from " << peer;
    EXPECT_EQ(
        std::count(middle, middle + static_cast<ptrdiff_t>(kPart), copied_value(peer, spec.rank)),
        kPart)
        << "from " << peer;
  }
  shared->Free();
  // A buffer that comes after is not the old one.
  Result<SharedBuffer> next = comm.AllocateShared(64);
  ASSERT_THAT(next.status(), Succeeds());
  EXPECT_THAT(Download(work.stream, next->pointer(spec.rank), 64), ::testing::Each(0));
  MeetOthers(comm, spec.world_size, work);  // nobody leaves before all have looked
}

}  // namespace nodecomm
