// What an attacker sends over a Unix socket in place of what is expected.
#pragma once

#include "client/base/unique_fd.h"

namespace nodecomm {

// One byte and the descriptor. False: errno says why not.
bool SendFd(int unix_socket, int fd);

// A TCP socket with more to send than its peer takes, which lingers for a minute when its last
// descriptor is closed. Its peer goes with this object, and then whoever closes it is let go.
class LingeringSocket {
 public:
  LingeringSocket();

  // Gives up the own descriptor, unless it cannot be sent: the other end refuses it, or is closed.
  bool PassTo(int unix_socket);

  int fd() const { return own_.get(); }
  void CloseOwn() { own_.Reset(); }

 private:
  UniqueFd own_;
  UniqueFd peer_;
};

}  // namespace nodecomm
