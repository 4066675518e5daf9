#pragma once

#include "broker/context.h"
#include "remoting/processors.h"

/// Looking for single messages: by key, by unique key, by offset id, and a queue's entries
/// (QueryMessageProcessor, AdminBrokerProcessor.queryConsumeQueue).
///
/// Threads: on workers; any of them may have to wait for the disk.
namespace apogee::broker {

void add_queries(remoting::Processors& processors, Context& context);

}  // namespace apogee::broker
