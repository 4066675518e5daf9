#pragma once

#include "broker/context.h"
#include "remoting/processors.h"

/// Requests about offsets: of consumer groups, and of queues (ConsumerManageProcessor,
/// AdminBrokerProcessor).
///
/// Threads: what comes from tables is answered on the connection's loop; what looks for store times
/// in the log, or goes through all groups, on a worker.
namespace apogee::broker {

void add_offsets(remoting::Processors& processors, Context& context);

}  // namespace apogee::broker
