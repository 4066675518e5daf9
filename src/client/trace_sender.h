#pragma once

#include <memory>
#include <span>
#include <string>

#include "apogee/consumer.h"
#include "client/instance.h"
#include "client/trace.h"
#include "client/waiting.h"

/// Sends trace records in the background, some together, every five seconds (Java's
/// AsyncTraceDispatcher). What is traced never waits for it and never fails because of it.
///
/// Threads: any.
namespace apogee::client {

class ProducerCore;

class TraceSender {
 public:
  TraceSender(std::shared_ptr<Instance> instance, std::string topic);
  ~TraceSender();

  /// Before and after a function consumed them; what the first gives ties the two together.
  std::string before(const std::string& group, std::span<const ReceivedMessage> messages);
  void after(const std::string& group, const std::string& request_id,
             std::span<const ReceivedMessage> messages, std::chrono::milliseconds took,
             ConsumeOutcome outcome);
  void add(TraceRecord record);
  Farewells flush();  ///< Begins to send what waits, which who ends waits for.

 private:
  const std::shared_ptr<Instance> instance_;
  const std::string topic_;
  const Result<std::shared_ptr<ProducerCore>> producer_;  // an error: the client ends already
  TraceBuffer buffer_;
  std::unique_ptr<Periodic> flushes_;
};

}  // namespace apogee::client
