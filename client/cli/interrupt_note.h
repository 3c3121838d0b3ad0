// Says a line on standard error if somebody ends the program meanwhile: what the daemon was asked
// for goes on without it. Not an attempt to go on, or to take anything back.
#pragma once

#include <string_view>

namespace nodecomm {

// One at a time, on the main thread. Of SIGINT and SIGTERM, unless they are ignored: the program
// ends by them all the same.
class InterruptNote {
 public:
  explicit InterruptNote(std::string_view line);  // cut after 255 bytes
  ~InterruptNote();
  InterruptNote(const InterruptNote&) = delete;
  InterruptNote& operator=(const InterruptNote&) = delete;
};

}  // namespace nodecomm
