#include "testing/network.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace apogee::testing {
namespace {

struct End;

class TaskLoop final : public Loop {
 public:
  void post(std::function<void()> task) override {
    std::lock_guard lock{mutex_};
    tasks_.push_back(std::move(task));
    posted_.notify_all();
  }
  bool on_this_thread() const override { return std::this_thread::get_id() == thread_; }
  bool run_one() {
    auto task = next();
    if (task) task();
    return task != nullptr;
  }
  void drop_all() {
    while (next()) {  // what a task holds may post once more
    }
  }
  void wait_for_a_task(std::chrono::milliseconds limit) {
    std::unique_lock lock{mutex_};
    posted_.wait_for(lock, limit, [&] { return !tasks_.empty(); });
  }

 private:
  std::function<void()> next() {
    std::lock_guard lock{mutex_};
    if (tasks_.empty()) return nullptr;
    auto task = std::move(tasks_.front());
    tasks_.pop_front();
    return task;
  }

  const std::thread::id thread_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
};

/// Somebody listens.
struct Ear {
  Endpoint at;
  std::function<void(std::unique_ptr<Stream>)> accepted;
};

std::pair<std::string, std::string> pair_of(const std::string& one, const std::string& other) {
  return std::minmax(one, other);
}

}  // namespace

struct Network::State : std::enable_shared_from_this<State> {
  State(ManualClock& clock_in, std::uint64_t seed) : clock{clock_in}, random{seed} {}

  bool parted(const std::string& one, const std::string& other) const {
    return partings.contains(pair_of(one, other));
  }

  ManualClock& clock;
  std::mt19937_64 random;
  TaskLoop loop;
  Conditions conditions;
  std::map<std::string, std::unique_ptr<Transport>> machines;
  std::map<std::pair<std::string, std::uint16_t>, std::shared_ptr<Ear>> ears;
  std::set<std::pair<std::string, std::string>> partings;
  std::vector<std::weak_ptr<End>> ends;
  std::uint16_t next_port = 40'000;
  bool gone = false;
};

namespace {

/// One end of a connection. Bytes under way are kept at the end they go to.
struct End : std::enable_shared_from_this<End> {
  struct Packet {
    Clock::Instant due;
    std::string bytes;  // empty: the other end has closed
  };

  End(std::shared_ptr<Network::State> network_in, Endpoint local_in, Endpoint remote_in)
      : network{std::move(network_in)}, local{std::move(local_in)}, remote{std::move(remote_in)} {}

  void start(StreamHandler& handler_in) {
    handler = &handler_in;
    begin_read();
    arrive();
  }
  void pause(bool paused_in) {
    paused = paused_in;
    if (paused) return;
    begin_read();
    arrive();
  }
  void write(std::span<const Bytes> buffers) {
    for (const Bytes& each : buffers) unsent.append(as_text(each));
    writing = true;
    push();
  }
  /// Hands bytes to the network as far as the window lets it.
  void push() {
    const auto to = other.lock();
    if (!writing || closed || !to) return;
    const std::size_t window = network->conditions.window_bytes;
    const std::size_t n = std::min(unsent.size(), window - std::min(window, to->outstanding));
    if (n > 0) to->expect(unsent.substr(0, n));
    unsent.erase(0, n);
    if (!unsent.empty()) return;
    writing = false;
    network->loop.post([self = shared_from_this()] {
      if (self->handler != nullptr) self->handler->on_written();
    });
  }
  void expect(std::string bytes) {
    outstanding += bytes.size();
    const auto due = network->clock.now() + network->conditions.delay;
    coming.push_back({due, std::move(bytes)});
    if (due > network->clock.now())
      network->clock.run_at(due, [self = weak_from_this()] {
        if (const auto end = self.lock()) end->arrive();
      });
    else
      arrive();
  }
  /// One read a task: reads of several streams take turns.
  void arrive() {
    if (arriving || network->gone) return;
    arriving = true;
    network->loop.post([self = shared_from_this()] {
      self->arriving = false;
      self->read();
    });
  }
  void begin_read() {
    if (reading || paused || closed || handler == nullptr) return;
    reading = true;
    space = handler->read_space();
  }
  void read() {
    if (closed || network->parted(local.host, remote.host)) return;
    while (!coming.empty() && coming.front().due <= network->clock.now()) {
      if (coming.front().bytes.empty()) peer_closed = true;
      arrived += coming.front().bytes;
      coming.pop_front();
    }
    if (handler == nullptr || paused || !reading) return;
    if (arrived.empty()) {
      if (peer_closed) end({Errc::kDisconnected, "read: closed by the peer"});
      return;
    }
    std::size_t n = std::min(arrived.size(), space.size());
    n = std::min(n, 1 + network->random() % network->conditions.read_bytes_max);
    std::memcpy(space.data(), arrived.data(), n);
    arrived.erase(0, n);
    outstanding -= n;
    reading = false;
    handler->on_read(n);
    begin_read();
    if (const auto from = other.lock()) from->push();
    arrive();
  }
  void end(const Error& why) {
    if (closed) return;
    closed = true;
    arrived.clear();
    coming.clear();
    unsent.clear();
    if (const auto to = other.lock(); to && !to->closed) to->expect({});
    if (StreamHandler* const last = std::exchange(handler, nullptr)) last->on_closed(why);
  }
  void close_later(Error why) {
    network->loop.post([self = shared_from_this(), why = std::move(why)] { self->end(why); });
  }

  const std::shared_ptr<Network::State> network;
  const Endpoint local, remote;
  std::weak_ptr<End> other;
  StreamHandler* handler = nullptr;
  bool paused = false, reading = false, writing = false, arriving = false, closed = false,
       peer_closed = false;
  MutableBytes space;
  std::string unsent;         // of the write under way
  std::deque<Packet> coming;  // in order
  std::string arrived;
  std::size_t outstanding = 0;  // bytes in `coming` and `arrived`
};

class MemoryStream final : public Stream {
 public:
  explicit MemoryStream(std::shared_ptr<End> end) : end_{std::move(end)} {}
  ~MemoryStream() override {
    end_->handler = nullptr;
    end_->end({Errc::kStopped, "dropped"});
  }
  Loop& loop() override { return end_->network->loop; }
  void start(StreamHandler& handler) override { end_->start(handler); }
  void pause_reading(bool paused) override { end_->pause(paused); }
  void write(std::span<const Bytes> buffers) override { end_->write(buffers); }
  void close(Error why) override { end_->close_later(std::move(why)); }
  Endpoint local() const override { return end_->local; }
  Endpoint remote() const override { return end_->remote; }

 private:
  const std::shared_ptr<End> end_;
};

class MemoryListener final : public Listener {
 public:
  MemoryListener(std::shared_ptr<Network::State> network, std::shared_ptr<Ear> ear)
      : network_{std::move(network)}, ear_{std::move(ear)} {}
  ~MemoryListener() override {
    ear_->accepted = nullptr;
    network_->ears.erase({ear_->at.host, ear_->at.port});
  }
  Endpoint local() const override { return ear_->at; }

 private:
  const std::shared_ptr<Network::State> network_;
  const std::shared_ptr<Ear> ear_;
};

using Connected = std::function<void(Result<std::unique_ptr<Stream>>)>;

class Machine final : public Transport {
 public:
  Machine(Network::State& network, std::string address)
      : network_{network}, address_{std::move(address)} {}

  Result<std::unique_ptr<Listener>> listen(
      const Endpoint& at, std::function<void(std::unique_ptr<Stream>)> accepted) override {
    const std::uint16_t port = at.port != 0 ? at.port : network_.next_port++;
    auto ear = std::make_shared<Ear>(Ear{{address_, port}, std::move(accepted)});
    if (!network_.ears.try_emplace({address_, port}, ear).second)
      return Error{Errc::kExists, "port " + std::to_string(port) + " is in use on " + address_};
    return std::unique_ptr<Listener>{
        std::make_unique<MemoryListener>(network_.shared_from_this(), std::move(ear))};
  }

  void connect(const Endpoint& to, std::chrono::milliseconds timeout, Connected done) override {
    const auto network = network_.shared_from_this();
    const Endpoint from{address_, network_.next_port++};
    const auto later = [network](Clock::Duration delay, std::function<void()> task) {
      if (delay <= Clock::Duration::zero()) return network->loop.post(std::move(task));
      network->clock.run_after(delay, [network, task = std::move(task)]() mutable {
        network->loop.post(std::move(task));
      });
    };
    // There and back once, as a handshake does.
    const auto round_trip = 2 * network_.conditions.delay;
    if (network_.parted(from.host, to.host) || round_trip > timeout)
      return later(timeout, [to, done = std::move(done)] {
        done(Error{Errc::kTimeout, "connect to " + to_string(to) + ": no answer in time"});
      });
    later(round_trip,
          [network, from, to, done = std::move(done)] { meet(network, from, to, done); });
  }

 private:
  static void meet(const std::shared_ptr<Network::State>& network, const Endpoint& from,
                   const Endpoint& to, const Connected& done) {
    const auto found = network->ears.find({to.host, to.port});
    if (found == network->ears.end())
      return done(
          Error{Errc::kDisconnected, "connect to " + to_string(to) + ": Connection refused"});
    auto near = std::make_shared<End>(network, from, to);
    auto far = std::make_shared<End>(network, to, from);
    near->other = far;
    far->other = near;
    std::erase_if(network->ends, [](const auto& end) { return end.expired(); });
    network->ends.push_back(near);
    network->ends.push_back(far);
    network->loop.post([ear = found->second, far] {
      if (ear->accepted) ear->accepted(std::make_unique<MemoryStream>(far));
    });
    done(std::unique_ptr<Stream>{std::make_unique<MemoryStream>(std::move(near))});
  }

  Network::State& network_;
  const std::string address_;
};

}  // namespace

Network::Network(ManualClock& clock, std::uint64_t seed)
    : state_{std::make_shared<State>(clock, seed)} {}
Network::~Network() {
  state_->gone = true;
  state_->loop.drop_all();
}

Transport& Network::machine(const std::string& address) {
  auto& machine = state_->machines[address];
  if (!machine) machine = std::make_unique<Machine>(*state_, address);
  return *machine;
}
Loop& Network::loop() {
  return state_->loop;
}
Network::Conditions& Network::conditions() {
  return state_->conditions;
}

std::size_t Network::run() {
  std::size_t ran = 0;
  while (state_->loop.run_one()) ++ran;
  return ran;
}

bool Network::run_until(const std::function<bool()>& done, std::chrono::milliseconds real_limit) {
  const auto end = std::chrono::steady_clock::now() + real_limit;
  for (;;) {
    run();
    if (done()) return true;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left <= left.zero()) return false;
    state_->loop.wait_for_a_task(left);
  }
}

void Network::advance(Clock::Duration by) {
  const auto end = state_->clock.now() + by;
  run();
  for (;;) {
    const auto next = state_->clock.next_due();
    if (!next || *next > end) break;
    state_->clock.advance(std::max(Clock::Duration::zero(), *next - state_->clock.now()));
    run();
  }
  state_->clock.advance(end - state_->clock.now());
}

void Network::cut(const std::string& one, const std::string& other) {
  const auto ends = state_->ends;
  for (const auto& weak : ends) {
    const auto end = weak.lock();
    if (end && !end->closed && pair_of(end->local.host, end->remote.host) == pair_of(one, other)) {
      end->other.reset();  // no farewell
      end->close_later({Errc::kDisconnected, "read: connection cut"});
    }
  }
}
void Network::part(const std::string& one, const std::string& other) {
  state_->partings.insert(pair_of(one, other));
}
void Network::heal() {
  state_->partings.clear();
  for (const auto& weak : state_->ends)
    if (const auto end = weak.lock()) end->arrive();
}

}  // namespace apogee::testing
