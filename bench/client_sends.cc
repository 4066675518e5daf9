#include "bench/client_sends.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "apogee/producer.h"
#include "client/instance.h"
#include "client/producer_core.h"
#include "protocol/bodies.h"
#include "protocol/codes.h"
#include "testing/turns.h"

namespace {

using namespace apogee;
using testing::Turns;

constexpr const char* kTopic = "orders";
constexpr std::size_t kBodyBytes = 128;
constexpr std::int32_t kQueues = 8;

/// Time stands still, and nothing is due.
class StandingClock final : public Clock {
 public:
  Instant now() const override { return Instant{1h}; }
  std::int64_t wall_ms() const override { return 1'700'000'000'000; }
  TimerId run_at(Instant, std::function<void()>) override { return 1; }
  void cancel(TimerId) override {}
};

Buffer answer(const protocol::CommandHead& head) {
  Buffer out;
  if (head.serialization == protocol::Serialization::kBinary)
    protocol::encode_command(out, head, kStored);
  else
    protocol::encode_command(out, head, protocol::NoFields{},
                             as_bytes(protocol::encode_body(protocol::TopicRouteData{
                                 .broker_datas = {{.broker_addresses = {{0, "10.0.0.2:10911"}},
                                                   .broker_name = "broker-a",
                                                   .cluster = "DefaultCluster"}},
                                 .queue_datas = {{.broker_name = "broker-a",
                                                  .perm = 6,
                                                  .read_queue_nums = kQueues,
                                                  .topic_sys_flag = 0,
                                                  .write_queue_nums = kQueues}}})));
  return out;
}

/// The other end of every connection: has stored what comes in the binary encoding, and knows the
/// route that JSON asks for. As little work as possible: it is counted, too.
class Stored final : public Stream {
 public:
  explicit Stored(Turns& loop) : loop_{loop} {}
  Loop& loop() override { return loop_; }
  void start(StreamHandler& handler) override { handler_ = &handler; }
  void pause_reading(bool) override {}
  void write(std::span<const Bytes> buffers) override {
    for (const Bytes each : buffers) take(each);
    loop_.post([this] {
      handler_->on_written();
      answer_all();
    });
  }
  std::size_t write_now(Bytes bytes) override {
    take(bytes);
    loop_.post([this] { answer_all(); });
    return bytes.size();
  }
  void close(Error why) override {
    loop_.post([this, why] { handler_->on_closed(why); });
  }
  Endpoint local() const override { return {"10.0.0.9", 40'000}; }
  Endpoint remote() const override { return {"10.0.0.2", 10'911}; }

 private:
  void take(Bytes rest) {
    while (!rest.empty()) {
      const auto frame = *protocol::decode_frame(rest);
      take(*frame, rest);
      rest = rest.subspan(frame->size);
    }
  }
  void answer_all() {
    const Buffer answers = std::exchange(answers_, {});
    for (Bytes rest = as_bytes(answers); !rest.empty();) {
      const MutableBytes space = handler_->read_space();
      const Bytes now = rest.first(std::min(rest.size(), space.size()));
      std::memcpy(space.data(), now.data(), now.size());
      rest = rest.subspan(now.size());
      handler_->on_read(now.size());
    }
  }
  void take(const protocol::Frame& frame, Bytes bytes) {
    if (frame.serialization == static_cast<std::uint8_t>(protocol::Serialization::kJson)) {
      protocol::CommandDecoder decoder;
      answers_ +=
          answer({.opaque = decoder.decode(frame)->opaque, .flag = protocol::kResponseFlag});
      return;
    }
    constexpr std::size_t kOpaqueAt = 13;
    static const Buffer kAnswer = answer(
        {.flag = protocol::kResponseFlag, .serialization = protocol::Serialization::kBinary});
    const std::size_t begin = answers_.size();
    answers_ += kAnswer;
    std::memcpy(answers_.data() + begin + kOpaqueAt, bytes.data() + kOpaqueAt,
                sizeof(std::int32_t));
  }

  Turns& loop_;
  StreamHandler* handler_ = nullptr;
  Buffer answers_;
};

class Nearby final : public Transport {
 public:
  explicit Nearby(Turns& loop) : loop_{loop} {}
  Result<std::unique_ptr<Listener>> listen(const Endpoint&,
                                           std::function<void(std::unique_ptr<Stream>)>) override {
    return Error{Errc::kUnsupported, "nobody listens here"};
  }
  void connect(const Endpoint&, std::chrono::milliseconds,
               std::function<void(Result<std::unique_ptr<Stream>>)> done) override {
    if (cut_) return done(Error{Errc::kDisconnected, "cut"});
    loop_.post([this, done = std::move(done)] {
      auto stream = std::make_unique<Stored>(loop_);
      streams_.push_back(stream.get());
      done(std::unique_ptr<Stream>{std::move(stream)});
    });
  }
  /// Ends everything, so that nothing is waited for at the end.
  void cut() {
    cut_ = true;
    for (Stored* const each : streams_) each->close({Errc::kDisconnected, "cut"});
    loop_.run();
  }

 private:
  Turns& loop_;
  std::vector<Stored*> streams_;
  bool cut_ = false;
};

}  // namespace

void client_sends(benchmark::State& state, int together) {
  StandingClock clock;
  Turns loop;
  Nearby network{loop};
  InlineExecutor workers;
  Random random{1};
  const auto files = make_posix_files();
  const auto log = make_silent_logger();
  Env env{clock, *files, network, workers, random, *log};
  const auto instance = *client::Instance::start(env, nullptr, {.name_servers = {"10.0.0.1:9876"}});
  Producer producer{*client::ProducerCore::start(instance, {.producer = {.group = "checkout"}})};
  const std::string body(kBodyBytes, 'x');
  int stored = 0;
  const auto send = [&] {
    producer.send({.topic = kTopic, .body = body}, 3s, [&](const Result<SendReceipt>& receipt) {
      if (receipt) ++stored;
    });
  };
  const auto send_all = [&] {
    stored = 0;
    for (int i = 0; i < together; ++i) send();
    loop.run();
    if (stored != together) std::abort();
  };
  send_all();  // learns the route, connects
  for (auto _ : state) send_all();
  state.SetItemsProcessed(state.iterations() * together);
  network.cut();
  instance->shutdown();
}
