#pragma once

#include <atomic>
#include <memory>

#include "base/transport.h"

namespace apogee::embedded {

/// A transport whose accepted connections can be cut, frozen and refused. Outgoing ones are left
/// alone.
/// Threads: every member any; faults are done on each stream's own loop, soon.
class FaultyNetwork final : public Transport {
 public:
  explicit FaultyNetwork(Transport& real);
  Result<std::unique_ptr<Listener>> listen(
      const Endpoint& at, std::function<void(std::unique_ptr<Stream>)> accepted) override;
  void connect(const Endpoint& to, std::chrono::milliseconds timeout,
               std::function<void(Result<std::unique_ptr<Stream>>)> done) override;

  void cut();
  void freeze(bool frozen);
  void refuse(bool refused);

  struct Streams;

 private:
  Transport& real_;
  // Shared: streams leave it when they end, which may be after this.
  const std::shared_ptr<Streams> streams_;
};

}  // namespace apogee::embedded
