#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "testing/network.h"

namespace apogee::testing {

/// Speaks bytes to an HTTP server, over one connection of its own. Threads: the network's.
class Browser final : public StreamHandler {
 public:
  Browser(Network& network, const char* machine, const Endpoint& server) {
    network.machine(machine).connect(server, 1s, [this](auto stream) {
      if (!stream) return;
      stream_ = *std::move(stream);
      stream_->start(*this);
    });
    network.run();
  }
  void send(std::string_view bytes) {
    sent_ = bytes;
    const Bytes piece = as_bytes(sent_);
    if (stream_ && !closed) stream_->write({&piece, 1});
  }
  bool is_connected() const { return stream_ != nullptr; }
  std::string received;
  bool closed = false;

 private:
  MutableBytes read_space() override { return space_; }
  void on_read(std::size_t bytes) override { received += as_text(Bytes{space_}.first(bytes)); }
  void on_written() override {}
  void on_closed(const Error&) override { closed = true; }

  std::unique_ptr<Stream> stream_;
  std::vector<std::byte> space_ = std::vector<std::byte>(1 << 16);
  std::string sent_;
};

}  // namespace apogee::testing
