#pragma once

#include <chrono>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "apogee/result.h"
#include "protocol/command.h"

/// A blocking connection that speaks frames, for loads.
namespace apogee::bench {

class Wire {
 public:
  Wire() = default;
  ~Wire();
  Wire(const Wire&) = delete;

  Result<Ok> connect(const std::string& address);
  bool send(std::string_view bytes);
  /// Reads once and hands every whole frame to `each`. False: the connection ended or nothing came
  /// in `limit_seconds` (10 unless set).
  template <class Each>
  bool receive(Each each) {
    return read() && hand_on(each);
  }
  /// As receive(), but that it is no failure if nothing comes before `until`.
  template <class Each>
  bool receive_until(std::chrono::steady_clock::time_point until, Each each) {
    return !wait(until) || (read() && hand_on(each));
  }
  /// One request, one answer: code and body (or remark).
  Result<std::pair<int, std::string>> call(const Buffer& frame);
  void limit_waits(int seconds);

 private:
  bool wait(std::chrono::steady_clock::time_point until);
  bool read();
  template <class Each>
  bool hand_on(Each& each) {
    std::size_t at = 0;
    for (;;) {
      auto frame = protocol::decode_frame(as_bytes(std::string_view{buffer_}.substr(at, end_ - at)),
                                          64 << 20);
      if (!frame) return false;
      if (!*frame) break;
      auto command = decoder_.decode(**frame);
      if (!command) return false;
      at += (*frame)->size;
      each(*command);
    }
    std::memmove(buffer_.data(), buffer_.data() + at, end_ - at);
    end_ -= at;
    return true;
  }

  int socket_ = -1;
  std::string buffer_;
  std::size_t end_ = 0;
  protocol::CommandDecoder decoder_;
};

/// A request whose opaque can be patched: binary headers have it at a fixed place.
template <class Header>
Buffer frame_of(std::int32_t code, const Header& header, Bytes body = {}) {
  Buffer out;
  protocol::encode_command(
      out, {.code = code, .opaque = 0, .serialization = protocol::Serialization::kBinary}, header,
      body);
  return out;
}
/// `at`: where the frame begins in `frames`.
void set_opaque(Buffer& frames, std::int32_t opaque, std::size_t at = 0);

}  // namespace apogee::bench
