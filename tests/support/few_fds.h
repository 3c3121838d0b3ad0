// A process that is out of file descriptors, for a while.
// Not for tests with threads that open files meanwhile.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>

namespace nodecomm {

// While it lives, this process may open `left` files more if the numbers of its descriptors have no
// gaps, and no more than that in any case.
// Expectations come afterwards: the first time that it meets a class, UndefinedBehaviorSanitizer
// opens a pipe to look at an object's type, and takes a failure for a wrong type.
class FewFds {
 public:
  explicit FewFds(rlim_t left = 0) {
    const int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (next < 0 || close(next) != 0 || getrlimit(RLIMIT_NOFILE, &before_) != 0) abort();
    SetLimit({.rlim_cur = static_cast<rlim_t>(next) + left, .rlim_max = before_.rlim_max});
  }
  ~FewFds() { SetLimit(before_); }
  FewFds(const FewFds&) = delete;
  FewFds& operator=(const FewFds&) = delete;

 private:
  static void SetLimit(const rlimit& limit) {
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) abort();
  }

  rlimit before_ = {};
};

}  // namespace nodecomm
