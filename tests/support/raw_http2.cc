#include "tests/support/raw_http2.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "absl/time/clock.h"

namespace nodecomm {

enum class RawHttp2::Type : uint8_t {
  kData = 0,
  kHeaders = 1,
  kReset = 3,
  kSettings = 4,
  kPing = 6,
  kWindow = 8,
};

namespace {

constexpr uint8_t kAck = 1;
constexpr uint8_t kEndStream = 1;
constexpr uint8_t kEndHeaders = 4;
constexpr size_t kFrameHeaderBytes = 9;
constexpr size_t kFrameBytesMax = 16384;
constexpr uint16_t kInitialWindowSetting = 4;

std::string BigEndian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

uint32_t ReadBigEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

// HPACK: a length below 127, and the bytes as they are.
std::string Literal(std::string_view text) {
  std::string literal(1, static_cast<char>(text.size()));
  return literal.append(text);
}

}  // namespace

RawHttp2::RawHttp2(const std::string& socket_path)
    : socket_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_path.c_str(), sizeof(address.sun_path) - 1);
  if (connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    socket_.Reset();
    return;
  }
  outgoing_ = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  Append(Type::kSettings, 0, 0, "");
}

uint32_t RawHttp2::Begin(std::string_view method) {
  last_stream_ = last_stream_ == 0 ? 1 : last_stream_ + 2;
  windows_[last_stream_] = initial_window_;
  // Indexed: POST, http. Not to be indexed: path, authority, content type, te.
  std::string headers = "\x83\x86\x04";
  headers += Literal(method) + "\x01" + Literal("localhost") + "\x0f\x10" +
             Literal("application/grpc") + std::string(1, '\0') + Literal("te") +
             Literal("trailers");
  Append(Type::kHeaders, kEndHeaders, last_stream_, headers);
  return last_stream_;
}

bool RawHttp2::SendPart(uint32_t call, size_t bytes, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  // Not compressed, and one byte longer than what is sent.
  std::string part =
      std::string(1, '\0') + BigEndian(static_cast<uint32_t>(bytes) + 1) + std::string(bytes, 'x');
  while (!part.empty()) {
    const auto window = windows_.find(call);
    if (!open() || window == windows_.end()) return false;
    const int64_t granted = std::min(window_, window->second);
    if (granted <= 0) {
      if (!Flush(deadline - absl::Now()) || !Wait(POLLIN, deadline)) return false;
      continue;
    }
    const size_t size = std::min({part.size(), static_cast<size_t>(granted), kFrameBytesMax});
    Append(Type::kData, 0, call, part.substr(0, size));
    part.erase(0, size);
    window_ -= static_cast<int64_t>(size);
    window->second -= static_cast<int64_t>(size);
  }
  return Flush(deadline - absl::Now());
}

void RawHttp2::Reset(uint32_t call) {
  constexpr uint32_t kCancel = 8;
  Append(Type::kReset, 0, call, BigEndian(kCancel));
  windows_.erase(call);
}

bool RawHttp2::Flush(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  Read();
  while (open() && !outgoing_.empty()) {
    const ssize_t sent =
        send(socket_.get(), outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      outgoing_.erase(0, static_cast<size_t>(sent));
    } else if (errno != EAGAIN) {
      socket_.Reset();
    } else if (!Wait(POLLIN | POLLOUT, deadline)) {
      return false;
    }
  }
  return open();
}

bool RawHttp2::Wait(short events, absl::Time deadline) {
  const int64_t left_ms = absl::ToInt64Milliseconds(deadline - absl::Now());
  pollfd polled = {.fd = socket_.get(), .events = events, .revents = 0};
  if (left_ms <= 0 || poll(&polled, 1, static_cast<int>(left_ms)) <= 0) return false;
  Read();
  return open();
}

void RawHttp2::Read() {
  std::array<char, 65536> buffer;
  ssize_t size = -1;
  while (open() && (size = recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT)) > 0) {
    incoming_.append(buffer.data(), static_cast<size_t>(size));
  }
  if (size == 0 || (size < 0 && errno != EAGAIN)) socket_.Reset();
  while (incoming_.size() >= kFrameHeaderBytes) {
    const std::string_view frame = incoming_;
    const size_t length = ReadBigEndian(frame.substr(0, 3));
    if (frame.size() < kFrameHeaderBytes + length) return;
    Handle(static_cast<Type>(frame[3]), static_cast<uint8_t>(frame[4]),
           ReadBigEndian(frame.substr(5, 4)), frame.substr(kFrameHeaderBytes, length));
    incoming_.erase(0, kFrameHeaderBytes + length);
  }
}

void RawHttp2::Handle(Type type, uint8_t flags, uint32_t stream, std::string_view payload) {
  const auto window = windows_.find(stream);
  if (type == Type::kWindow && stream == 0) window_ += ReadBigEndian(payload);
  if (type == Type::kWindow && window != windows_.end()) window->second += ReadBigEndian(payload);
  if (type == Type::kReset) windows_.erase(stream);
  if (type == Type::kHeaders && (flags & kEndStream) != 0) windows_.erase(stream);
  if (type == Type::kPing && (flags & kAck) == 0) Append(Type::kPing, kAck, 0, payload);
  if (type == Type::kSettings && (flags & kAck) == 0) {
    for (; payload.size() >= 6; payload.remove_prefix(6)) {
      if (ReadBigEndian(payload.substr(0, 2)) != kInitialWindowSetting) continue;
      SetInitialWindow(ReadBigEndian(payload.substr(2, 4)));
    }
    Append(Type::kSettings, kAck, 0, "");
  }
}

void RawHttp2::SetInitialWindow(int64_t bytes) {
  for (auto& [stream, window] : windows_) window += bytes - initial_window_;
  initial_window_ = bytes;
}

void RawHttp2::Append(Type type, uint8_t flags, uint32_t stream, std::string_view payload) {
  outgoing_ += BigEndian(static_cast<uint32_t>(payload.size())).substr(1);
  outgoing_ += static_cast<char>(type);
  outgoing_ += static_cast<char>(flags);
  outgoing_ += BigEndian(stream);
  outgoing_ += payload;
}

}  // namespace nodecomm
