#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/transport.h"
#include "protocol/command.h"

/// The other end of a connection, as processors and tables see it. A server has one per accepted
/// connection, a client one per connection it made; requests may go both ways over either.
namespace apogee::remoting {

/// Bytes that live in somebody's memory (a mapped segment of the log) and may be sent without
/// copying: `owner` keeps them.
struct SharedBytes {
  Bytes bytes;
  std::shared_ptr<const void> owner;
};

/// A whole outgoing frame: head (and small body) in `bytes`, then `shared` one after the other.
struct OutFrame {
  Buffer bytes;
  std::vector<SharedBytes> shared;
};

/// A received command that owns its memory, for whoever keeps it beyond the callback.
struct OwnedCommand {
  std::int32_t code = 0;
  std::int32_t version = 0;
  protocol::Language language = protocol::Language::kJava;
  std::string remark;
  std::vector<std::pair<std::string, std::string>> ext;
  Buffer body;
  explicit OwnedCommand(const protocol::CommandView& view);
  protocol::CommandView view(
      std::vector<protocol::ExtField>& scratch) const;  ///< Aliases this and `scratch`.
};
template <class Header>
Result<Header> read_header(const OwnedCommand& command) {
  return protocol::read_fields<Header>(
      [&](std::string_view name) -> std::optional<std::string_view> {
        for (const auto& [key, value] : command.ext)
          if (key == name) return value;
        return std::nullopt;
      });
}

/// Threads: every member from any thread; what touches the connection is posted to its loop.
/// Shared by design: tables of producers and consumers, pending replies and held pulls point at a
/// peer that may be gone; then every call fails with kDisconnected.
class Peer {
 public:
  /// One request's way from its arrival to its answer.
  struct Answered {
    std::int32_t request = 0, response = 0;
    bool oneway = false;
    bool later = false;     ///< Not while the requests of its read were being handled.
    std::size_t times = 1;  ///< So many such requests of one read.
    Clock::Duration took{};
  };

  virtual ~Peer() = default;
  virtual std::uint64_t id() const = 0;        ///< Unique in the process.
  virtual const Endpoint& remote() const = 0;  ///< Socket peer: what bornHost is made of.
  virtual const std::string& remote_text()
      const = 0;  ///< "ip:port"; the PROXY protocol's source if one was sent.
  virtual Loop& loop() = 0;
  virtual bool connected() const = 0;
  /// Bytes waiting to be sent. A producer of large answers stops feeding a peer above its limit.
  virtual std::size_t unsent_bytes() const = 0;
  virtual void send(OutFrame frame) = 0;
  /// On the peer's loop while its requests are being handled: its own output, to whose end one
  /// frame may be appended before end_answer(). Otherwise null: make a frame and send() it.
  virtual Buffer* begin_answer() { return nullptr; }
  virtual void end_answer() {}
  virtual void close(const std::string& why) = 0;

  /// Sends a request; `encode` runs inside this call; `done` runs exactly once, on this peer's
  /// loop: the response (any code), kTimeout or kDisconnected.
  virtual void call_frame(std::function<void(Buffer& out, std::int32_t opaque)> encode,
                          std::chrono::milliseconds timeout,
                          std::function<void(Result<OwnedCommand>)> done) = 0;

  template <class Header>
  void call(std::int32_t code, const Header& header, Bytes body, std::chrono::milliseconds timeout,
            std::function<void(Result<OwnedCommand>)> done) {
    call_frame(
        [&](Buffer& out, std::int32_t opaque) {
          protocol::encode_command(out, {.code = code, .opaque = opaque}, header, body);
        },
        timeout, std::move(done));
  }
  template <class Header>
  void send_oneway(std::int32_t code, const Header& header, Bytes body = {}) {
    OutFrame frame;
    protocol::encode_command(frame.bytes,
                             {.code = code, .opaque = next_opaque(), .flag = protocol::kOnewayFlag},
                             header, body);
    send(std::move(frame));
  }
  virtual std::int32_t next_opaque() = 0;
  /// A request that arrived then has its answer: for the statistics.
  virtual void answered(Answered, Clock::Instant /*arrived*/) {}
};
using PeerPtr = std::shared_ptr<Peer>;

/// How to answer one request, now or later, from any thread. Copyable and small. Oneway requests
/// are answered into the void. Answers given on the peer's loop while its requests are being
/// handled leave in one write at the end of that batch.
class Responder {
 public:
  Responder(PeerPtr peer, const protocol::CommandView& request, Clock::Instant arrived = {})
      : peer_{std::move(peer)},
        arrived_{arrived},
        opaque_{request.opaque},
        request_code_{request.code},
        serialization_{request.serialization},
        oneway_{request.is_oneway()} {}

  template <class Header = protocol::NoFields>
  void reply(std::int32_t code, std::optional<std::string_view> remark = {},
             const Header& header = {}, Bytes body = {}) const {
    reply_pieces(code, remark, header, std::span{&body, 1});
  }
  /// Answers with a body copied together from `pieces`.
  template <class Header>
  void reply_pieces(std::int32_t code, std::optional<std::string_view> remark, const Header& header,
                    std::span<const Bytes> pieces) const {
    if (!wanted(code)) return;
    std::size_t size = 0;
    for (const Bytes each : pieces) size += each.size();
    const auto encode = [&](Buffer& out) {
      protocol::encode_head(out, head(code, remark), header, size);
      for (const Bytes each : pieces) append(out, each);
    };
    if (Buffer* const out = peer_->begin_answer()) {
      encode(*out);
      return peer_->end_answer();
    }
    OutFrame frame;
    encode(frame.bytes);
    peer_->send(std::move(frame));
  }
  /// Answers with a body that is not copied.
  template <class Header>
  void reply_shared(std::int32_t code, std::optional<std::string_view> remark, const Header& header,
                    std::vector<SharedBytes> body) const {
    if (!wanted(code)) return;
    std::size_t size = 0;
    for (const SharedBytes& each : body) size += each.bytes.size();
    OutFrame frame;
    protocol::encode_head(frame.bytes, head(code, remark), header, size);
    frame.shared = std::move(body);
    peer_->send(std::move(frame));
  }
  /// A frame the caller has encoded with head() of this code.
  void send(std::int32_t code, OutFrame frame) const {
    if (wanted(code)) peer_->send(std::move(frame));
  }
  const PeerPtr& peer() const { return peer_; }
  protocol::CommandHead head(std::int32_t code, std::optional<std::string_view> remark) const {
    return {.code = code,
            .opaque = opaque_,
            .flag = protocol::kResponseFlag,
            .remark = remark,
            .serialization = serialization_};
  }

 private:
  bool wanted(std::int32_t code) const {
    peer_->answered({.request = request_code_, .response = code, .oneway = oneway_}, arrived_);
    return !oneway_;
  }

  PeerPtr peer_;
  Clock::Instant arrived_;
  std::int32_t opaque_, request_code_;
  protocol::Serialization serialization_;
  bool oneway_;
};

/// One request while its connection's bytes are being handled. Copy what must live longer.
struct Request {
  const protocol::CommandView& command;
  const Responder responder;
  const PeerPtr& peer() const { return responder.peer(); }
};

/// Receives the requests of a server's or client's connections, on the connection's loop: must not
/// block.
class RequestHandler {
 public:
  virtual ~RequestHandler() = default;
  /// All requests found in one read of one connection, in order.
  virtual void on_requests(std::span<const Request> requests) = 0;
  virtual void on_connected(const PeerPtr&) {}
  virtual void on_disconnected(const PeerPtr&, const Error&) {}

  // What took how long, told where it happened: must be quick.
  virtual void on_decoded(Clock::Duration) {
  }  ///< The frames of one read, as far as one batch goes.
  virtual void on_sent(Clock::Duration) {}  ///< One write, until the system had it all.
  virtual void on_answered(const Peer::Answered&) {}
};

}  // namespace apogee::remoting
