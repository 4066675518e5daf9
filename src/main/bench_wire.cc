#include "main/bench_wire.h"

#include <algorithm>

#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/transport.h"

namespace apogee::bench {

Wire::~Wire() {
  if (socket_ >= 0) ::close(socket_);
}

Result<Ok> Wire::connect(const std::string& address) {
  auto endpoint = parse_endpoint(address);
  if (!endpoint) return endpoint.error();
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(endpoint->host.c_str(), std::to_string(endpoint->port).c_str(), &hints,
                    &found) != 0)
    return Error{Errc::kNotFound, endpoint->host + " does not resolve"};
  socket_ = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected = socket_ >= 0 && ::connect(socket_, found->ai_addr, found->ai_addrlen) == 0;
  ::freeaddrinfo(found);
  if (!connected)
    return Error{Errc::kDisconnected,
                 "no connection to " + address + ": " + std::generic_category().message(errno)};
  const int on = 1;
  ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  limit_waits(10);
  return Ok{};
}

void Wire::limit_waits(int seconds) {
  const timeval limit{.tv_sec = seconds, .tv_usec = 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

bool Wire::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

/// Is there something to read, or the end of the connection, before `until`?
bool Wire::wait(std::chrono::steady_clock::time_point until) {
  const auto left = std::max<std::chrono::nanoseconds>(until - std::chrono::steady_clock::now(),
                                                       std::chrono::nanoseconds{0});
  const timespec limit{.tv_sec = left.count() / 1'000'000'000,
                       .tv_nsec = left.count() % 1'000'000'000};
  pollfd poll{.fd = socket_, .events = POLLIN, .revents = 0};
  return ::ppoll(&poll, 1, &limit, nullptr) > 0;
}

bool Wire::read() {
  if (buffer_.size() - end_ < (64U << 10))
    buffer_.resize(std::max<std::size_t>(buffer_.size() * 2, 1 << 20));
  const ssize_t n = ::recv(socket_, buffer_.data() + end_, buffer_.size() - end_, 0);
  if (n <= 0) return false;
  end_ += static_cast<std::size_t>(n);
  return true;
}

Result<std::pair<int, std::string>> Wire::call(const Buffer& frame) {
  if (!send(frame)) return Error{Errc::kDisconnected, "the connection ended"};
  std::optional<std::pair<int, std::string>> answer;
  while (!answer) {
    if (!receive([&](const protocol::CommandView& command) {
          answer = {command.code, command.code == 0 ? std::string{as_text(command.body)}
                                                    : std::string{command.remark.value_or("")}};
        })) {
      return Error{Errc::kDisconnected, "no answer"};
    }
  }
  return *answer;
}

void set_opaque(Buffer& frames, std::int32_t opaque, std::size_t at) {
  constexpr std::size_t kOpaqueAt = 8 + 2 + 1 + 2;  // frame head, code, language, version
  write_big<std::int32_t>(std::as_writable_bytes(std::span{frames.data(), frames.size()}),
                          at + kOpaqueAt, opaque);
}

}  // namespace apogee::bench
