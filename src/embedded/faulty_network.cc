#include "embedded/faulty_network.h"

#include <map>
#include <mutex>

namespace apogee::embedded {
namespace {
class FaultyStream;
}

/// The accepted streams that live. Each is touched, and ends, on its own loop only.
struct FaultyNetwork::Streams : std::enable_shared_from_this<Streams> {
  struct Entry {
    FaultyStream* stream;
    Loop* loop;
  };
  std::mutex mutex;
  std::map<std::uint64_t, Entry> entries;  // guarded by mutex
  std::uint64_t last_id = 0;               // guarded by mutex
  std::atomic<bool> frozen{false}, refusing{false};

  void each(std::function<void(FaultyStream&)> act) {
    std::lock_guard lock{mutex};
    for (const auto& [id, entry] : entries) {
      entry.loop->post([self = shared_from_this(), id, act] {
        std::unique_lock finding{self->mutex};
        const auto found = self->entries.find(id);
        if (found == self->entries.end()) return;
        FaultyStream& stream = *found->second.stream;
        finding.unlock();
        act(stream);
      });
    }
  }
};

namespace {

class FaultyStream final : public Stream {
 public:
  FaultyStream(std::unique_ptr<Stream> real, std::shared_ptr<FaultyNetwork::Streams> streams)
      : real_{std::move(real)}, streams_{std::move(streams)} {
    std::lock_guard lock{streams_->mutex};
    id_ = ++streams_->last_id;
    streams_->entries[id_] = {this, &real_->loop()};
  }
  ~FaultyStream() override {
    std::lock_guard lock{streams_->mutex};
    streams_->entries.erase(id_);
  }

  Loop& loop() override { return real_->loop(); }
  void start(StreamHandler& handler) override {
    started_ = true;
    if (streams_->frozen) real_->pause_reading(true);
    real_->start(handler);
  }
  void pause_reading(bool paused) override {
    paused_ = paused;
    update();
  }
  void write(std::span<const Bytes> buffers) override { real_->write(buffers); }
  void close(Error why) override { real_->close(std::move(why)); }
  Endpoint local() const override { return real_->local(); }
  Endpoint remote() const override { return real_->remote(); }

  void update() {
    if (started_) real_->pause_reading(paused_ || streams_->frozen);
  }

 private:
  std::unique_ptr<Stream> real_;
  const std::shared_ptr<FaultyNetwork::Streams> streams_;
  std::uint64_t id_ = 0;
  bool paused_ = false, started_ = false;
};

}  // namespace

FaultyNetwork::FaultyNetwork(Transport& real)
    : real_{real}, streams_{std::make_shared<Streams>()} {}

Result<std::unique_ptr<Listener>> FaultyNetwork::listen(
    const Endpoint& at, std::function<void(std::unique_ptr<Stream>)> accepted) {
  return real_.listen(
      at, [streams = streams_, accepted = std::move(accepted)](std::unique_ptr<Stream> stream) {
        if (!streams->refusing)
          accepted(std::make_unique<FaultyStream>(std::move(stream), streams));
      });
}

void FaultyNetwork::connect(const Endpoint& to, std::chrono::milliseconds timeout,
                            std::function<void(Result<std::unique_ptr<Stream>>)> done) {
  real_.connect(to, timeout, std::move(done));
}

void FaultyNetwork::cut() {
  streams_->each(
      [](FaultyStream& stream) { stream.close({Errc::kDisconnected, "cut by the test"}); });
}

void FaultyNetwork::freeze(bool frozen) {
  streams_->frozen = frozen;
  streams_->each([](FaultyStream& stream) { stream.update(); });
}

void FaultyNetwork::refuse(bool refused) {
  streams_->refusing = refused;
}

}  // namespace apogee::embedded
