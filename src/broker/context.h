#pragma once

#include <functional>
#include <string>
#include <utility>

#include "base/env.h"
#include "base/in_flight.h"
#include "broker/cold_reads.h"
#include "broker/config.h"
#include "broker/consumer_offsets.h"
#include "broker/consumers.h"
#include "broker/filter_data.h"
#include "broker/long_polling.h"
#include "broker/producers.h"
#include "broker/queue_locks.h"
#include "broker/readers.h"
#include "broker/stats.h"
#include "broker/subscription_groups.h"
#include "broker/topics.h"
#include "store/message_store.h"

namespace apogee::broker {

/// What the broker's processors work with, borrowed: Broker (broker.cc) owns it all, makes it
/// before the server starts and ends it after the server has stopped.
struct Context {
  Env& env;
  LiveConfig& config;
  store::MessageStore& store;
  Topics& topics;
  SubscriptionGroups& groups;
  Consumers& consumers;
  Producers& producers;
  ConsumerOffsets& offsets;
  QueueLocks& queue_locks;
  LongPolling& long_polling;
  Stats& stats;
  std::string address;  ///< brokerIP1:listenPort, as clients are told.
  /// Requests whose work goes on beyond their callback; waited for before anything above ends.
  InFlight& in_flight;
  Readers& readers;  ///< What may wait for the disk on behalf of a request goes on there.
  FilterData* filter_data = nullptr;  ///< Absent where nobody keeps it.
  ColdReads* cold_reads = nullptr;    ///< Absent where nobody is slowed down.

  const BrokerConfig& settings() const { return config.now(); }
  /// Work that may block, where everything else does: callers see to it that there is never much
  /// of it. Not at all once the broker stops.
  void on_worker(std::function<void()> work) const {
    auto token = in_flight.enter();
    if (!token) return;
    env.workers.post([token = std::move(token), work = std::move(work)] { work(); });
  }
};

}  // namespace apogee::broker
