#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "apogee/result.h"
#include "base/bytes.h"
#include "base/executor.h"

/// The only door to the network. Production uses remoting's Asio transport, tests one
/// process-internal network that delays, drops and cuts.
namespace apogee {

struct Endpoint {
  std::string host;        ///< Name or address; "0.0.0.0" or "::" to listen on all.
  std::uint16_t port = 0;  ///< 0: the system chooses (listening).
};
std::string to_string(const Endpoint& endpoint);         ///< "host:port", "[v6]:port".
Result<Endpoint> parse_endpoint(std::string_view text);  ///< kInvalidArgument names the text.

/// One thread that runs a stream's callbacks, and tasks posted to it, one after the other.
class Loop : public Executor {
 public:
  virtual bool on_this_thread() const = 0;
};

/// What a stream tells its owner. All calls come on the stream's loop.
class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  /// Where the next bytes go; called before every read. Not empty. Valid until on_read() or
  /// on_closed().
  virtual MutableBytes read_space() = 0;
  virtual void on_read(std::size_t bytes) = 0;  ///< That many bytes of read_space() were filled.
  virtual void on_written() = 0;                ///< The last write() is done; its buffers are free.
  virtual void on_closed(const Error& why) = 0;  ///< Last call. By the peer, an error, or close().
};

/// A connected byte stream that belongs to one loop for life. All members on that loop only, but
/// for write_now().
class Stream {
 public:
  virtual ~Stream() = default;
  virtual Loop& loop() = 0;
  virtual void start(
      StreamHandler& handler) = 0;  ///< Begins reading. Once. The handler outlives the stream.
  virtual void pause_reading(bool paused) = 0;  ///< Back-pressure: no on_read() while paused.
  /// Writes all of `buffers`; they stay untouched until on_written() or on_closed(). One write at a
  /// time.
  virtual void write(std::span<const Bytes> buffers) = 0;
  /// Gives the system what it takes of `bytes` at once, and says how many those are: none where it
  /// cannot be done, or the stream has closed. Any thread, while no write() is under way.
  virtual std::size_t write_now(Bytes /*bytes*/) { return 0; }
  virtual void close(Error why) = 0;  ///< on_closed() follows, not from inside this call.
  virtual Endpoint local() const = 0;
  virtual Endpoint remote() const = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;  ///< Stops accepting; accepted streams live on.
  virtual Endpoint local() const = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  /// `accepted` is called on the new stream's loop and must start() or destroy it. kExists: address
  /// in use.
  virtual Result<std::unique_ptr<Listener>> listen(
      const Endpoint& at, std::function<void(std::unique_ptr<Stream>)> accepted) = 0;
  /// `done` is called once, on the stream's loop or (on error) on some loop. Any thread.
  virtual void connect(const Endpoint& to, std::chrono::milliseconds timeout,
                       std::function<void(Result<std::unique_ptr<Stream>>)> done) = 0;
};

}  // namespace apogee
