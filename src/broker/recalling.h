#pragma once

#include "broker/context.h"
#include "broker/sending.h"
#include "remoting/processors.h"

/// RECALL_MESSAGE (RecallMessageProcessor), and what the timer tells of itself:
/// GET_TIMER_CHECK_POINT, GET_TIMER_METRICS.
///
/// A recall is a message of its own in the timer, in the slot of the one it takes away.
/// Threads: any io thread; answered by the flush thread with SYNC_FLUSH.
namespace apogee::broker {

void add_recalling(remoting::Processors& processors, Context& context,
                   const SendSettings& settings);

}  // namespace apogee::broker
