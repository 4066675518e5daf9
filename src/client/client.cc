#include "apogee/client.h"

#include "client/instance.h"
#include "client/producer_core.h"
#include "client/thrown.h"
#include "client/waiting.h"

namespace apogee {
namespace {

constexpr auto kEndLimit = std::chrono::seconds{15};

Severity severity_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return Severity::kDebug;
    case LogLevel::kInfo:
      return Severity::kInfo;
    case LogLevel::kWarn:
      return Severity::kWarning;
    case LogLevel::kError:
      return Severity::kError;
  }
  return Severity::kError;
}

/// A thread inside a program's log function, which may send with a client whose sends fail: nothing
/// is logged about that, by no client, as it would go round for ever.
thread_local bool inside_log_function = false;

/// The program may end the client, or what was made from it, inside its function: nothing holds a
/// lock where it writes a line.
class FunctionLogger final : public Logger {
 public:
  explicit FunctionLogger(std::function<void(Severity, std::string_view)> write)
      : write_{std::move(write)} {}
  bool enabled(LogLevel) const override { return write_ && !inside_log_function; }
  void write(LogLevel level, std::string_view line) override {
    struct Inside {
      Inside() { inside_log_function = true; }
      ~Inside() { inside_log_function = false; }
    } inside;
    // There is nowhere to tell of what it throws.
    (void)client::thrown_by(
        [&] { client::Instance::run_callback(write_, severity_of(level), line); });
  }

 private:
  const std::function<void(Severity, std::string_view)> write_;
};

}  // namespace

Result<Client> Client::start(ClientConfig config) {
  auto runtime = client::make_runtime(config.io_threads, config.worker_threads,
                                      std::make_unique<FunctionLogger>(config.log));
  Env& env = runtime->env();
  auto instance = client::Instance::start(env, std::move(runtime), std::move(config));
  if (!instance) return instance.error();
  (*instance)->wait_for_name_servers();
  return Client{*std::move(instance)};
}

Client::Client(std::shared_ptr<client::Instance> instance) : instance_{std::move(instance)} {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&& other) noexcept {
  if (this != &other) {
    shutdown();
    instance_ = std::move(other.instance_);
  }
  return *this;
}

Client::~Client() {
  if (!instance_) return;
  shutdown();
  // The threads end with the last owner. Handles and callbacks under way may own a part for a
  // moment longer; whoever destroys a client inside its own callback must not wait for that.
  const auto gone = instance_->runtime_gone();
  const bool last = instance_.use_count() == 1;
  instance_.reset();
  if (last && gone.valid() && !client::CallbackScope::inside()) gone.wait_for(kEndLimit);
}

void Client::shutdown() {
  if (instance_) instance_->shutdown();
}
void Client::shutdown(std::function<void(Result<Ok>)> done) {
  client::shut_down(instance_, std::move(done));
}
Awaitable<Ok> Client::shutdown_async() {
  return client::shut_down(instance_);
}

Result<Ok> Client::use_name_servers(const std::vector<std::string>& addresses) {
  return instance_->use_name_servers(addresses);
}

const std::string& Client::id() const {
  return instance_->id();
}

Result<Producer> Client::producer(ProducerConfig config) {
  auto core = client::ProducerCore::start(instance_, {.producer = std::move(config)});
  if (!core) return core.error();
  return Producer{*std::move(core)};
}

Result<TransactionalProducer> Client::transactional_producer(TransactionalProducerConfig config) {
  auto core = client::ProducerCore::start(instance_, std::move(config));
  if (!core) return core.error();
  return TransactionalProducer{Producer{*std::move(core)}};
}

}  // namespace apogee
