// A program whose memory is at its end: allocations throw, as the standard says, and no exception
// may come out of the library.
#include <gtest/gtest.h>

#include <cstdlib>
#include <exception>
#include <new>

#include "nodecomm/nodecomm.h"

namespace {

bool fails = false;

}  // namespace

// The library takes its memory from the program's operator. Not inlined: gcc would see malloc's
// memory given to a delete.
[[gnu::noinline]] void* operator new(size_t bytes) {
  void* memory = fails ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace {

TEST(OutOfMemory, EndsTheProcessAndThrowsNothing) {
  nodecomm_options options = {};
  options.struct_size = sizeof(options);
  options.name = "a name that is too long to be kept in a string without memory of its own";
  options.world_size = 1;
  EXPECT_EXIT(
      {
        nodecomm_comm* comm = nullptr;
        fails = true;
        try {
          nodecomm_comm_create(&options, &comm);
        } catch (...) {
          std::_Exit(3);
        }
        std::_Exit(4);
      },
      testing::KilledBySignal(SIGABRT), "bad_alloc");
}

}  // namespace
