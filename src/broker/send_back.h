#pragma once

#include "broker/context.h"
#include "broker/sending.h"
#include "protocol/headers.h"
#include "remoting/processors.h"

/// CONSUMER_SEND_MSG_BACK: a consumer could not handle a message; it comes again after a while, or
/// goes to the dead letters (AbstractSendMessageProcessor.consumerSendMsgBack).
///
/// Threads: on the workers: it reads the log and may make topics, which are on disk before the
/// answer.
namespace apogee::broker {

void add_send_back(remoting::Processors& processors, Context& context,
                   const SendSettings& settings);

/// How often a message of the group is tried again: what the client says, if it is young enough to
/// say it, else the group's setting.
std::int32_t most_reconsume_times(const protocol::SubscriptionGroupConfig& group,
                                  std::int32_t client_version, protocol::OptInt said);

}  // namespace apogee::broker
