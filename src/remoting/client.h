#pragma once

#include <future>
#include <memory>
#include <string>

#include "base/env.h"
#include "remoting/answered_in_place.h"
#include "remoting/peer.h"
#include "remoting/tls.h"

namespace apogee::remoting {

struct ClientConfig {
  std::chrono::milliseconds connect_timeout{3'000};
  std::chrono::seconds idle{120};  ///< A connection without traffic for this long is closed.
  std::uint32_t max_frame_bytes = protocol::kMaxFrameBytes;
  /// Null: plain connections.
  std::shared_ptr<const TlsContext> tls;
  /// Told of every connection that has been made, ahead of the calls that wait for it. On a loop:
  /// must not block.
  std::function<void(const std::string& address)> connected = [](const std::string&) {};
};

/// Outgoing connections, one per address, made when first needed; a new one takes the place of one
/// whose server has answered GO_AWAY. Requests of the other side go to `handler` (may be null: they
/// are answered "not supported"). Threads: every member from any
/// thread, but call_and_wait() not on a loop.
class Client {
 public:
  explicit Client(Clock& clock) : clock_{clock} {}
  virtual ~Client() = default;  ///< stop()
  /// Closes everything; pending calls end with kStopped, and so do those that come later.
  /// Idempotent. May wait for a completion that runs; not from inside one.
  virtual void stop() {}

  /// Sends a request to `address` ("host:port"), connecting first if need be; the deadline covers
  /// both. `done` runs once, on a loop or on the clock's thread.
  virtual void call_in_place(const std::string& address,
                             std::function<void(Buffer& out, std::int32_t opaque)>&& encode,
                             Clock::Instant deadline, AnsweredInPlace&& done) = 0;
  void call_frame(const std::string& address,
                  std::function<void(Buffer& out, std::int32_t opaque)> encode,
                  std::chrono::milliseconds timeout,
                  std::function<void(Result<OwnedCommand>)> done) {
    call_in_place(address, std::move(encode), clock_.now() + timeout, owning(std::move(done)));
  }
  virtual void oneway_frame(const std::string& address,
                            std::function<void(Buffer& out, std::int32_t opaque)> encode) = 0;
  virtual void close(const std::string& address) = 0;

  template <class Header>
  void call(const std::string& address, std::int32_t code, const Header& header, Buffer body,
            std::chrono::milliseconds timeout, std::function<void(Result<OwnedCommand>)> done) {
    call_frame(
        address,
        [code, header, body = std::move(body)](Buffer& out, std::int32_t opaque) {
          protocol::encode_command(out, {.code = code, .opaque = opaque}, header, as_bytes(body));
        },
        timeout, std::move(done));
  }
  template <class Header>
  void oneway(const std::string& address, std::int32_t code, const Header& header, Buffer body) {
    oneway_frame(address, [code, header, body = std::move(body)](Buffer& out, std::int32_t opaque) {
      protocol::encode_command(out, {.code = code, .opaque = opaque, .flag = protocol::kOnewayFlag},
                               header, as_bytes(body));
    });
  }
  /// Blocks until the answer, the deadline or the end of the connection.
  template <class Header>
  Result<OwnedCommand> call_and_wait(const std::string& address, std::int32_t code,
                                     const Header& header, Buffer body,
                                     std::chrono::milliseconds timeout) {
    std::promise<Result<OwnedCommand>> answer;
    call(address, code, header, std::move(body), timeout,
         [&](Result<OwnedCommand> result) { answer.set_value(std::move(result)); });
    return answer.get_future().get();
  }

 private:
  Clock& clock_;
};

std::unique_ptr<Client> make_client(Env& env, const ClientConfig& config,
                                    RequestHandler* handler = nullptr);

/// The real network: Asio on `threads` io threads, each of which looks for more up to `spin` before
/// it sleeps, where that pays. Its streams and listeners must be gone before it.
std::unique_ptr<Transport> make_transport(std::size_t threads, std::chrono::microseconds spin = {});

}  // namespace apogee::remoting
