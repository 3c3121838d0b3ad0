#include "tests/daemon/session/hostile_fds.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstring>
#include <string>
#include <thread>
#include <utility>

namespace nodecomm {

bool SendFd(int socket, int fd) {
  char byte = 'x';
  iovec part = {&byte, sizeof(byte)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(rights), &fd, sizeof(int));
  return sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
}

LingeringSocket::LingeringSocket() {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int receive = 2048;
  setsockopt(listener.get(), SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener.get(), generic, length) != 0 || listen(listener.get(), 1) != 0 ||
      getsockname(listener.get(), generic, &length) != 0) {
    return;
  }
  own_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(own_.get(), generic, length) != 0) return;
  peer_.Reset(accept(listener.get(), nullptr, nullptr));
  const std::string much(1 << 16, 'x');
  while (send(own_.get(), much.data(), much.size(), MSG_DONTWAIT) > 0) {
  }
  const linger minute = {.l_onoff = 1, .l_linger = 60};
  setsockopt(own_.get(), SOL_SOCKET, SO_LINGER, &minute, sizeof(minute));
}

bool LingeringSocket::PassTo(int unix_socket) {
  if (!SendFd(unix_socket, own_.get())) return false;
  // Whoever is last lingers, and the other end may be quick.
  std::thread([own = std::move(own_)]() mutable { own.Reset(); }).detach();
  return true;
}

}  // namespace nodecomm
