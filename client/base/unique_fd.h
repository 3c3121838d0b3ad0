// One owner for one file descriptor.
// Not a file abstraction: it closes, and nothing else.
// Used by every part that holds sockets, pidfds, memfds or exported GPU memory.
#pragma once

#include <utility>

namespace nodecomm {

class [[nodiscard]] UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }
  // Closes what is held, if anything, and takes `fd`.
  void Reset(int fd = -1);
  // A second descriptor (close-on-exec) for the same file; invalid if the process is out of
  // descriptors.
  UniqueFd Duplicate() const;

 private:
  int fd_ = -1;
};

}  // namespace nodecomm
