#include "broker/metrics_server.h"

#include <array>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/in_flight.h"

namespace apogee::broker {
namespace {

struct HttpRequest {
  std::string method, path;
};

/// The first line of a request: method, path without its query. nullopt: it is none.
std::optional<HttpRequest> parse_request_line(std::string_view line) {
  const std::size_t first = line.find(' ');
  if (first == std::string_view::npos) return std::nullopt;
  const std::size_t second = line.find(' ', first + 1);
  if (second == std::string_view::npos || !line.substr(second + 1).starts_with("HTTP/1."))
    return std::nullopt;
  std::string_view path = line.substr(first + 1, second - first - 1);
  path = path.substr(0, path.find('?'));
  if (!path.starts_with('/')) return std::nullopt;
  return HttpRequest{std::string{line.substr(0, first)}, std::string{path}};
}

std::string_view reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Unknown";
  }
}

Buffer response(const HttpPage& page, bool with_body) {
  Buffer out = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n",
      page.status, reason_of(page.status), page.type, page.body.size(),
      page.status == 405 ? "Allow: GET, HEAD\r\n" : "");
  if (with_body) out += page.body;
  return out;
}

}  // namespace

/// Outlives the server for as long as a connection does.
struct MetricsServer::State : std::enable_shared_from_this<MetricsServer::State> {
  class Connection;
  State(Env& environment, Pages make) : env{environment}, pages{std::move(make)} {}

  void accept(std::unique_ptr<Stream> stream);
  void erase(std::uint64_t id);
  void close_late();
  void ask(std::shared_ptr<Connection> connection, std::string path);
  void make_next(InFlight::Token token);

  Env& env;
  const Pages pages;
  InFlight in_flight;  // pages being made
  std::mutex mutex;
  // Who waits for which page; guarded by mutex. Nobody waits unless a worker is making pages, one
  // at a time.
  std::map<std::string, std::vector<std::shared_ptr<Connection>>> asked;
  bool making = false;  // mutex
  std::condition_variable empty;
  std::unordered_map<std::uint64_t, std::shared_ptr<Connection>> connections;  // mutex
  std::uint64_t next_id = 0;                                                   // mutex
  Endpoint local;
  InlineExecutor on_clock;  // a late connection ends whatever the workers are at
  std::unique_ptr<Periodic> sweep;
  std::unique_ptr<Listener> listener;  // first to go
};

/// Belongs to its loop from start() on.
class MetricsServer::State::Connection final
    : public StreamHandler,
      public std::enable_shared_from_this<MetricsServer::State::Connection> {
 public:
  Connection(std::shared_ptr<State> owner, std::uint64_t id, std::unique_ptr<Stream> stream)
      : owner_{std::move(owner)},
        id_{id},
        until_{owner_->env.clock.now() + kTimeMax},
        stream_{std::move(stream)},
        loop_{stream_->loop()} {}

  void start() { stream_->start(*this); }
  Clock::Instant until() const { return until_; }
  /// Any thread.
  void close(std::string why) {
    loop_.post([self = shared_from_this(), why = std::move(why)] { self->end(why); });
  }

  MutableBytes read_space() override {
    return std::as_writable_bytes(std::span{input_}).subspan(asked_ ? 0 : filled_);
  }
  void on_read(std::size_t bytes) override {
    if (asked_) return;  // whatever else it has to say
    filled_ += bytes;
    const std::string_view text{input_.data(), filled_};
    const std::size_t end = text.find("\r\n\r\n");
    if (end == std::string_view::npos) {
      if (filled_ == input_.size()) answer({.status = 431, .body = "the request is too long\n"});
      return;
    }
    asked_ = true;
    const auto request = parse_request_line(text.substr(0, text.find("\r\n")));
    if (!request) return answer({.status = 400, .body = "not an HTTP request\n"});
    with_body_ = request->method != "HEAD";
    if (with_body_ && request->method != "GET")
      return answer({.status = 405, .body = "GET and HEAD only\n"});
    owner_->ask(shared_from_this(), request->path);
  }
  /// Any thread: what it asked for.
  void give(std::shared_ptr<const HttpPage> page) {
    loop_.post([self = shared_from_this(), page = std::move(page)] { self->answer(*page); });
  }
  void on_written() override { end("answered"); }
  void on_closed(const Error&) override {
    const auto self = shared_from_this();
    stream_.reset();
    owner_->erase(id_);
  }

 private:
  void answer(const HttpPage& page) {
    asked_ = true;
    if (!stream_ || closing_ || !output_.empty()) return;
    output_ = response(page, with_body_);
    const std::array<Bytes, 1> pieces{as_bytes(output_)};
    stream_->write(pieces);
  }
  void end(const std::string& why) {
    if (!stream_ || closing_) return;
    closing_ = true;
    stream_->close(Error{Errc::kStopped, why});
  }

  const std::shared_ptr<State> owner_;
  const std::uint64_t id_;
  const Clock::Instant until_;
  std::unique_ptr<Stream> stream_;
  Loop& loop_;
  std::array<char, kRequestBytesMax> input_{};
  std::size_t filled_ = 0;
  Buffer output_;
  bool asked_ = false, with_body_ = true, closing_ = false;
};

void MetricsServer::State::accept(std::unique_ptr<Stream> stream) {
  std::shared_ptr<Connection> connection;
  {
    std::lock_guard lock{mutex};
    if (connections.size() >= kConnectionsMax) return;  // destroyed: closed
    const std::uint64_t id = ++next_id;
    connection = std::make_shared<Connection>(shared_from_this(), id, std::move(stream));
    connections.emplace(id, connection);
  }
  connection->start();
}

void MetricsServer::State::erase(std::uint64_t id) {
  std::lock_guard lock{mutex};
  connections.erase(id);
  if (connections.empty()) empty.notify_all();
}

/// However many ask, one worker at most is at work for them.
void MetricsServer::State::ask(std::shared_ptr<Connection> connection, std::string path) {
  auto token = in_flight.enter();
  if (!token) return connection->close("stopping");
  {
    std::lock_guard lock{mutex};
    asked[std::move(path)].push_back(std::move(connection));
    if (std::exchange(making, true)) return;
  }
  env.workers.post(
      [self = shared_from_this(), token = std::move(token)] { self->make_next(token); });
}

/// One page, for all who wait for it now; the worker may do something else before the next.
void MetricsServer::State::make_next(InFlight::Token token) {
  decltype(asked)::node_type next;
  {
    std::lock_guard lock{mutex};
    next = asked.extract(asked.begin());
  }
  std::optional<HttpPage> made = pages(next.key());
  if (!made) made = HttpPage{.status = 404, .body = "/metrics, /healthz or /readyz\n"};
  const auto page = std::make_shared<const HttpPage>(*std::move(made));
  for (const auto& connection : next.mapped()) connection->give(page);
  {
    std::lock_guard lock{mutex};
    making = !asked.empty();
    if (!making) return;
  }
  env.workers.post(
      [self = shared_from_this(), token = std::move(token)] { self->make_next(token); });
}

void MetricsServer::State::close_late() {
  const auto now = env.clock.now();
  std::lock_guard lock{mutex};
  for (const auto& [id, connection] : connections)
    if (now >= connection->until()) connection->close("too slow");
}

MetricsServer::MetricsServer(std::shared_ptr<State> state) : state_{std::move(state)} {}

Result<std::unique_ptr<MetricsServer>> MetricsServer::start(Env& env, const Endpoint& at,
                                                            Pages pages) {
  auto state = std::make_shared<State>(env, std::move(pages));
  auto listener = env.network.listen(at, [state = state.get()](std::unique_ptr<Stream> stream) {
    state->accept(std::move(stream));
  });
  if (!listener) return listener.error();
  state->listener = *std::move(listener);
  state->local = state->listener->local();
  state->sweep = std::make_unique<Periodic>(env.clock, state->on_clock, 1s, 1s,
                                            [state = state.get()] { state->close_late(); });
  return std::unique_ptr<MetricsServer>{new MetricsServer{std::move(state)}};
}

MetricsServer::~MetricsServer() {
  constexpr auto kPatience = 10s;
  state_->listener.reset();
  state_->sweep.reset();
  state_->in_flight.wait();
  std::unique_lock lock{state_->mutex};
  for (const auto& [id, connection] : state_->connections) connection->close("the broker stops");
  state_->empty.wait_for(lock, kPatience, [&] { return state_->connections.empty(); });
}

Endpoint MetricsServer::local() const {
  return state_->local;
}

}  // namespace apogee::broker
