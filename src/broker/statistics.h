#pragma once

#include <functional>
#include <map>
#include <string>

#include "broker/context.h"
#include "remoting/processors.h"

/// What the tools show: the runtime info, progress of topics and groups, statistics by name; and
/// the store's cleaning on demand (AdminBrokerProcessor).
///
/// Threads: on workers; all of it walks through tables or asks the log for store times.
namespace apogee::broker {

/// Adds entries to the runtime info (delay levels, timers); any thread.
using MoreRuntimeInfo = std::function<void(std::map<std::string, std::string>& table)>;

void add_statistics(remoting::Processors& processors, Context& context, MoreRuntimeInfo more);

}  // namespace apogee::broker
