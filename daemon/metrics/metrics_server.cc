#include "daemon/metrics/metrics_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "daemon/metrics/http_text.h"

namespace nodecomm {
namespace {

// Until there are descriptors again.
constexpr absl::Duration kAcceptAgain = absl::Milliseconds(100);

bool MayComeLater(int error) { return error == EAGAIN || error == EINTR; }

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(Options options) {
  std::unique_ptr<MetricsServer> server(new MetricsServer(std::move(options)));
  ABSL_RETURN_IF_ERROR(server->Listen());
  ABSL_ASSIGN_OR_RETURN(server->thread_, Thread::Start([raw = server.get()] { raw->Run(); }));
  return server;
}

MetricsServer::~MetricsServer() {
  if (stop_.valid()) eventfd_write(stop_.get(), 1);
  thread_.Join();
}

absl::Status MetricsServer::Listen() {
  stop_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_.valid()) return absl::ErrnoToStatus(errno, "eventfd for the server of metrics");
  listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(options_.port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof(address);
  const int on = 1;  // a daemon that comes back finds connections of the last one in TIME_WAIT
  if (!listener_.valid() ||
      setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      bind(listener_.get(), raw, length) != 0 || listen(listener_.get(), SOMAXCONN) != 0 ||
      getsockname(listener_.get(), raw, &length) != 0) {
    const int error = errno;
    const absl::Status cause = absl::ErrnoToStatus(error, "");
    const std::string advice =
        error == EACCES
            ? "ports below net.ipv4.ip_unprivileged_port_start (1024) are for root and "
              "CAP_NET_BIND_SERVICE: choose another"
            : absl::StrFormat("if the port is taken, ss -ltnp 'sport = :%d' says by whom",
                              options_.port);
    return absl::UnavailableError(
        absl::StrFormat("metrics cannot be served on 127.0.0.1:%d (metrics.port)%s; %s",
                        options_.port, cause.message(), advice));
  }
  port_ = ntohs(address.sin_port);
  return absl::OkStatus();
}

void MetricsServer::Run() {
  while (true) {
    const bool accepts = SteadyNow() >= accepts_at_;
    std::vector<pollfd> watched = {{.fd = stop_.get(), .events = POLLIN, .revents = 0},
                                   {.fd = accepts ? listener_.get() : -1,  // ignored below 0
                                    .events = POLLIN,
                                    .revents = 0}};
    for (const Connection& connection : connections_) {
      const bool writes = connection.sent < connection.answer.size();
      watched.push_back({.fd = connection.fd.get(),
                         .events = static_cast<short>(writes ? POLLOUT : POLLIN),
                         .revents = 0});
    }
    const absl::Duration left = std::max(NextDeadline() - SteadyNow(), absl::ZeroDuration());
    const timespec timeout = absl::ToTimespec(left);
    if (ppoll(watched.data(), watched.size(), left == absl::InfiniteDuration() ? nullptr : &timeout,
              nullptr) < 0) {
      continue;  // only by a signal; what comes is still there
    }
    if (watched[0].revents != 0) return;
    size_t i = 2;
    for (auto it = connections_.begin(); it != connections_.end(); ++i) {
      const bool ends =
          SteadyNow() >= it->deadline || (watched[i].revents != 0 && Serve(*it) == After::kEnds);
      it = ends ? connections_.erase(it) : std::next(it);
    }
    if (watched[1].revents != 0) Accept();
  }
}

SteadyTime MetricsServer::NextDeadline() const {
  SteadyTime next = accepts_at_ > SteadyNow() ? accepts_at_ : SteadyTime::InfiniteFuture();
  for (const Connection& connection : connections_) next = std::min(next, connection.deadline);
  return next;
}

void MetricsServer::Accept() {
  UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd.valid()) {
    // The listener stays readable, and the thread would spin.
    if (!MayComeLater(errno)) accepts_at_ = SteadyNow() + kAcceptAgain;
    return;
  }
  // Who connects and says nothing must not keep Prometheus out, and is the first to go.
  if (connections_.size() >= kConnectionsMax) connections_.pop_front();
  connections_.push_back({.fd = std::move(fd),
                          .deadline = SteadyNow() + options_.timeout,
                          .request = {},
                          .answer = {}});
  // The request is often there already.
  if (Serve(connections_.back()) == After::kEnds) connections_.pop_back();
}

MetricsServer::After MetricsServer::Serve(Connection& connection) const {
  if (connection.answer.empty() && Read(connection) == After::kEnds) return After::kEnds;
  if (connection.sent < connection.answer.size()) return Write(connection);
  return connection.answer.empty() ? After::kGoesOn : Read(connection);
}

MetricsServer::After MetricsServer::Read(Connection& connection) const {
  std::array<char, kHttpRequestBytesMax> part;
  const ssize_t length = recv(connection.fd.get(), part.data(), part.size(), 0);
  if (length < 0) return MayComeLater(errno) ? After::kGoesOn : After::kEnds;
  if (length == 0) return After::kEnds;
  // What comes after the request is read all the same: closing with something unread would reset
  // the connection, and the answer could be lost.
  if (!connection.answer.empty()) return After::kGoesOn;
  connection.request.append(part.data(), static_cast<size_t>(length));
  if (IsHttpRequest(connection.request)) {
    connection.answer = AnswerHttp(connection.request, options_.expose);
  }
  return After::kGoesOn;
}

MetricsServer::After MetricsServer::Write(Connection& connection) {
  const std::string_view rest = std::string_view(connection.answer).substr(connection.sent);
  const ssize_t length = send(connection.fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
  if (length < 0) return MayComeLater(errno) ? After::kGoesOn : After::kEnds;
  connection.sent += static_cast<size_t>(length);
  // The reader sees the end, closes, and then this side does.
  if (connection.sent == connection.answer.size()) shutdown(connection.fd.get(), SHUT_WR);
  return After::kGoesOn;
}

}  // namespace nodecomm
