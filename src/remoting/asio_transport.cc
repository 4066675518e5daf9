#define ASIO_STANDALONE
#define ASIO_NO_DEPRECATED
#include <asio.hpp>

#include "base/short_turns.h"
#include "base/thread_name.h"
#include "remoting/client.h"
#include "remoting/spin.h"

namespace apogee::remoting {
namespace {

using asio::ip::tcp;

Error error_of(const std::error_code& error, const std::string& what) {
  if (error == asio::error::eof || error == asio::error::connection_reset ||
      error == asio::error::broken_pipe)
    return Error{Errc::kDisconnected, what + ": closed by the peer"};
  return Error{Errc::kDisconnected, what + ": " + error.message()};
}

Endpoint endpoint_of(const tcp::endpoint& endpoint) {
  auto address = endpoint.address();
  // A v4 peer of a v6 socket is a v4 peer.
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  return {address.to_string(), endpoint.port()};
}

/// How much of a write the system is given next. Asio's own rule is 64 KiB a call.
std::size_t all_at_once(const std::error_code& error, std::size_t /*written*/) {
  constexpr std::size_t kAtOnce = 1 << 20;
  return error ? 0 : kAtOnce;
}

/// Where a thread that may outlive a loop leaves tasks for it; those that come later are dropped.
class Door {
 public:
  explicit Door(Loop& loop) : loop_{&loop} {}
  void post(std::function<void()> task) {
    std::lock_guard lock{mutex_};
    if (loop_ != nullptr) loop_->post(std::move(task));
  }
  void shut() {
    std::lock_guard lock{mutex_};
    loop_ = nullptr;
  }

 private:
  std::mutex mutex_;
  Loop* loop_;
};

/// Its thread sleeps until a socket has something for it; before that it looks for up to `spin`.
class AsioLoop final : public Loop {
 public:
  AsioLoop(std::size_t index, std::chrono::microseconds spin)
      : spin_for_{spin}, work_{asio::make_work_guard(io)}, thread_{[this, index] {
          name_this_thread(("io-" + std::to_string(index)).c_str());
          if (spin_for_.count() == 0) return static_cast<void>(io.run());
          ask_for_short_turns();  // a server: others wait for it
          run_spinning();
        }} {}
  ~AsioLoop() override {
    door->shut();
    work_.reset();
    io.stop();
    thread_.join();
  }
  void post(std::function<void()> task) override { asio::post(io, std::move(task)); }
  bool on_this_thread() const override { return std::this_thread::get_id() == thread_.get_id(); }

  asio::io_context io{1};
  const std::shared_ptr<Door> door = std::make_shared<Door>(*this);

 private:
  void run_spinning() {
    while (!io.stopped()) {
      if (io.poll() > 0 || look()) continue;
      if (io.run_one() == 0) break;
    }
  }
  /// Whoever else wants this core gets it.
  bool look() {
    if (!spin_.is_worth_it()) return false;
    const auto until = std::chrono::steady_clock::now() + spin_for_;
    bool found = false;
    do {
      std::this_thread::yield();
      found = io.poll() > 0;
    } while (!found && std::chrono::steady_clock::now() < until);
    spin_.tell(found);
    return found;
  }

  const std::chrono::microseconds spin_for_;
  Spin spin_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::thread thread_;
};

/// Shared between the stream and its operations in flight, which may end after the stream is gone.
struct Core : std::enable_shared_from_this<Core> {
  Core(AsioLoop& loop_in, tcp::socket socket_in) : loop{loop_in}, socket{std::move(socket_in)} {
    std::error_code error;
    socket.set_option(tcp::no_delay{true}, error);
    socket.non_blocking(true, error);
    remote = endpoint_of(socket.remote_endpoint(error));
    local = endpoint_of(socket.local_endpoint(error));
  }

  /// Waits before it asks for memory: an idle connection has none.
  void read() {
    if (reading || paused || handler == nullptr) return;
    reading = true;
    socket.async_wait(tcp::socket::wait_read,
                      [self = shared_from_this()](const std::error_code& error) {
                        self->reading = false;
                        if (self->handler == nullptr) return;
                        if (error) return self->end(error_of(error, "read"));
                        if (!self->paused) self->readable();
                        self->read();
                      });
  }
  void readable() {
    const MutableBytes space = handler->read_space();
    std::error_code error;
    const std::size_t n = socket.read_some(asio::buffer(space.data(), space.size()), error);
    if (error == asio::error::would_block || error == asio::error::try_again) return;
    if (error) return end(error_of(error, "read"));
    handler->on_read(n);
  }
  void write(std::span<const Bytes> buffers) {
    std::vector<asio::const_buffer>& pieces = write_pieces;
    pieces.clear();
    for (const Bytes& each : buffers) pieces.emplace_back(each.data(), each.size());
    asio::async_write(socket, std::span<const asio::const_buffer>{pieces}, all_at_once,
                      [self = shared_from_this()](const std::error_code& error, std::size_t) {
                        if (self->handler == nullptr) return;
                        if (error) return self->end(error_of(error, "write"));
                        self->handler->on_written();
                      });
  }
  std::size_t write_now(Bytes bytes) {
    std::lock_guard lock{closing};
    std::error_code error;
    return socket.is_open() ? socket.send(asio::buffer(bytes.data(), bytes.size()), 0, error) : 0;
  }
  void close() {
    std::lock_guard lock{closing};
    std::error_code ignored;
    socket.close(ignored);
  }
  void end(const Error& why) {
    StreamHandler* const last = std::exchange(handler, nullptr);
    close();
    if (last != nullptr) last->on_closed(why);
  }

  AsioLoop& loop;
  tcp::socket socket;
  Endpoint remote, local;
  StreamHandler* handler = nullptr;
  bool reading = false, paused = false;
  std::mutex closing;  // while another thread writes, the socket is not closed
  std::vector<asio::const_buffer> write_pieces;
};

class AsioStream final : public Stream {
 public:
  explicit AsioStream(std::shared_ptr<Core> core) : core_{std::move(core)} {}
  ~AsioStream() override {
    core_->handler = nullptr;
    core_->close();
  }
  Loop& loop() override { return core_->loop; }
  void start(StreamHandler& handler) override {
    core_->handler = &handler;
    core_->read();
  }
  void pause_reading(bool paused) override {
    core_->paused = paused;
    if (!paused) core_->read();
  }
  void write(std::span<const Bytes> buffers) override { core_->write(buffers); }
  std::size_t write_now(Bytes bytes) override { return core_->write_now(bytes); }
  void close(Error why) override {
    core_->loop.post([core = core_, why = std::move(why)] { core->end(why); });
  }
  Endpoint local() const override { return core_->local; }
  Endpoint remote() const override { return core_->remote; }

 private:
  const std::shared_ptr<Core> core_;
};

class AsioTransport;

/// Lives on the first loop; hands each new socket to the next one.
struct Acceptor : std::enable_shared_from_this<Acceptor> {
  Acceptor(AsioTransport& transport_in, AsioLoop& loop,
           std::function<void(std::unique_ptr<Stream>)> accepted_in)
      : transport{transport_in},
        acceptor{loop.io},
        retry{loop.io},
        accepted{std::move(accepted_in)} {}
  void accept();

  AsioTransport& transport;
  tcp::acceptor acceptor;
  asio::steady_timer retry;
  std::function<void(std::unique_ptr<Stream>)> accepted;
  std::atomic<bool> closed{false};  // read on every loop
};

class AsioListener final : public Listener {
 public:
  AsioListener(std::shared_ptr<Acceptor> acceptor, Endpoint local, std::vector<AsioLoop*> loops)
      : acceptor_{std::move(acceptor)}, local_{std::move(local)}, loops_{std::move(loops)} {}
  ~AsioListener() override {
    run_and_wait(*loops_.front(), [acceptor = acceptor_] {
      std::error_code ignored;
      acceptor->closed = true;
      acceptor->acceptor.close(ignored);
      acceptor->retry.cancel();
    });
    // A socket may be on its way to its loop: wait behind it, so that `accepted` is never called
    // once this is gone.
    for (AsioLoop* loop : loops_) run_and_wait(*loop, [] {});
  }
  Endpoint local() const override { return local_; }

 private:
  static void run_and_wait(AsioLoop& loop, const std::function<void()>& task) {
    if (loop.on_this_thread()) return task();
    std::promise<void> done;
    loop.post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }

  const std::shared_ptr<Acceptor> acceptor_;
  const Endpoint local_;
  const std::vector<AsioLoop*> loops_;
};

/// One attempt to connect: resolve, then connect, under one timer.
struct Connector : std::enable_shared_from_this<Connector> {
  Connector(AsioLoop& loop_in, Endpoint to_in,
            std::function<void(Result<std::unique_ptr<Stream>>)> done_in)
      : loop{loop_in},
        to{std::move(to_in)},
        socket{loop.io},
        timer{loop.io},
        done{std::move(done_in)} {}

  void start(std::chrono::milliseconds timeout) {
    timer.expires_after(timeout);
    timer.async_wait([self = shared_from_this()](const std::error_code& error) {
      if (!error)
        self->finish(
            Error{Errc::kTimeout, "connect to " + to_string(self->to) + ": no answer in time"});
    });
    std::error_code not_numeric;
    const auto address = asio::ip::make_address(to.host, not_numeric);
    if (!not_numeric) return connect(std::vector{tcp::endpoint{address, to.port}});
    look_up();
  }
  /// On a thread of its own: the system's resolver waits for as long as DNS does and cannot be
  /// interrupted, and neither other names nor the end of the transport are to wait with it.
  void look_up() try {
    std::thread{[host = to.host, port = to.port, door = loop.door, waiting = weak_from_this()] {
      name_this_thread("resolve");
      asio::io_context none;
      std::error_code error;
      const auto found = tcp::resolver{none}.resolve(host, std::to_string(port), error);
      std::vector<tcp::endpoint> endpoints;
      for (const auto& each : found) endpoints.push_back(each.endpoint());
      door->post([waiting, error, endpoints = std::move(endpoints)] {
        if (const auto self = waiting.lock()) self->looked_up(error, endpoints);
      });
    }}.detach();
  } catch (const std::system_error& error) {
    finish(Error{Errc::kDisconnected, "resolve " + to.host + ": " + error.what()});
  }
  void looked_up(const std::error_code& error, const std::vector<tcp::endpoint>& endpoints) {
    if (!done) return;
    if (error)
      return finish(Error{Errc::kDisconnected, "resolve " + to.host + ": " + error.message()});
    connect(endpoints);
  }
  void connect(std::vector<tcp::endpoint> endpoints) {
    targets = std::move(endpoints);
    asio::async_connect(
        socket, targets,
        [self = shared_from_this()](const std::error_code& error, const tcp::endpoint&) {
          if (error)
            return self->finish(Error{
                Errc::kDisconnected, "connect to " + to_string(self->to) + ": " + error.message()});
          self->finish(std::unique_ptr<Stream>{
              std::make_unique<AsioStream>(std::make_shared<Core>(self->loop, self->connected()))});
        });
  }
  /// As if it had been accepted: of a socket that connects Asio asks for ever whether it may be
  /// written to, and is told so, for nothing, each time it asks for input.
  tcp::socket connected() {
    std::error_code error;
    const tcp protocol = socket.local_endpoint(error).protocol();
    tcp::socket same{loop.io};
    same.assign(protocol, socket.release(error), error);
    return same;
  }
  void finish(Result<std::unique_ptr<Stream>> result) {
    if (!done) return;
    timer.cancel();
    std::error_code ignored;
    if (!result) socket.close(ignored);
    std::exchange(done, nullptr)(std::move(result));
  }

  AsioLoop& loop;
  const Endpoint to;
  tcp::socket socket;
  asio::steady_timer timer;
  std::vector<tcp::endpoint> targets;
  std::function<void(Result<std::unique_ptr<Stream>>)> done;
};

class AsioTransport final : public Transport {
 public:
  AsioTransport(std::size_t threads, std::chrono::microseconds spin) {
    for (std::size_t i = 0; i < std::max<std::size_t>(threads, 1); ++i)
      loops_.push_back(std::make_unique<AsioLoop>(i, spin));
  }
  Result<std::unique_ptr<Listener>> listen(
      const Endpoint& at, std::function<void(std::unique_ptr<Stream>)> accepted) override {
    AsioLoop& loop = *loops_.front();
    std::error_code error;
    const auto address = asio::ip::make_address(at.host.empty() ? "0.0.0.0" : at.host, error);
    if (error)
      return Error{Errc::kInvalidArgument, "'" + at.host + "' is not an address to listen on"};
    const tcp::endpoint endpoint{address, at.port};
    auto acceptor = std::make_shared<Acceptor>(*this, loop, std::move(accepted));
    acceptor->acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor->acceptor.set_option(tcp::acceptor::reuse_address{true}, error);
    if (!error) acceptor->acceptor.bind(endpoint, error);
    if (!error) acceptor->acceptor.listen(1024, error);
    if (error == asio::error::address_in_use)
      return Error{Errc::kExists,
                   "port " + std::to_string(at.port) +
                       " is in use by another process; end it or choose another port"};
    if (error) return Error{Errc::kIo, "listen on " + to_string(at) + ": " + error.message()};
    Endpoint local = endpoint_of(acceptor->acceptor.local_endpoint());
    loop.post([acceptor] { acceptor->accept(); });
    return std::unique_ptr<Listener>{
        std::make_unique<AsioListener>(std::move(acceptor), std::move(local), all_loops())};
  }
  void connect(const Endpoint& to, std::chrono::milliseconds timeout,
               std::function<void(Result<std::unique_ptr<Stream>>)> done) override {
    AsioLoop& loop = next_loop();
    auto connector = std::make_shared<Connector>(loop, to, std::move(done));
    loop.post([connector, timeout] { connector->start(timeout); });
  }
  std::vector<AsioLoop*> all_loops() const {
    std::vector<AsioLoop*> loops;
    for (const auto& loop : loops_) loops.push_back(loop.get());
    return loops;
  }
  AsioLoop& next_loop() {
    return *loops_[next_.fetch_add(1, std::memory_order_relaxed) % loops_.size()];
  }

 private:
  std::vector<std::unique_ptr<AsioLoop>> loops_;
  std::atomic<std::size_t> next_{0};
};

void Acceptor::accept() {
  if (closed) return;
  AsioLoop& loop = transport.next_loop();
  acceptor.async_accept(loop.io, [self = shared_from_this(), &loop](const std::error_code& error,
                                                                    tcp::socket socket) {
    if (self->closed) return;
    if (error) {
      // Out of descriptors or memory: wait for some to come back instead of spinning.
      self->retry.expires_after(100ms);
      self->retry.async_wait([self](const std::error_code& cancelled) {
        if (!cancelled) self->accept();
      });
      return;
    }
    auto core = std::make_shared<Core>(loop, std::move(socket));
    loop.post([self, core] {
      if (!self->closed) self->accepted(std::make_unique<AsioStream>(core));
    });
    self->accept();
  });
}

}  // namespace

std::unique_ptr<Transport> make_transport(std::size_t threads, std::chrono::microseconds spin) {
  return std::make_unique<AsioTransport>(threads, spin);
}

}  // namespace apogee::remoting
