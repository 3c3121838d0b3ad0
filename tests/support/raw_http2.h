// gRPC's HTTP/2 by hand, for clients without manners: requests that are begun and never finished,
// calls that are reset at once. Not a client for calls that are to succeed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "client/base/unique_fd.h"

namespace nodecomm {

// One thread. Every wait is bounded. What the server sends is read and, but for what it grants and
// ends, dropped.
class RawHttp2 {
 public:
  explicit RawHttp2(const std::string& socket_path);

  // Neither end has closed the connection.
  bool open() const { return socket_.valid(); }

  // A new call of "/package.Service/Method"; its number.
  uint32_t Begin(std::string_view method);
  // That many bytes, not the last, of its request. False: the server does not take them within the
  // timeout, or has ended the call.
  bool SendPart(uint32_t call, size_t bytes, absl::Duration timeout);
  void Reset(uint32_t call);

  // Sends what was begun or reset so far. False: not within the timeout.
  bool Flush(absl::Duration timeout);

 private:
  enum class Type : uint8_t;

  void Append(Type type, uint8_t flags, uint32_t stream, std::string_view payload);
  bool Wait(short events, absl::Time deadline);
  void Read();
  void Handle(Type type, uint8_t flags, uint32_t stream, std::string_view payload);
  void SetInitialWindow(int64_t bytes);

  UniqueFd socket_;
  std::string outgoing_;
  std::string incoming_;
  uint32_t last_stream_ = 0;
  // What the server takes before it grants more: at first, of all calls, and of those that go on.
  int64_t initial_window_ = 65535;
  int64_t window_ = 65535;
  std::map<uint32_t, int64_t> windows_;
};

}  // namespace nodecomm
