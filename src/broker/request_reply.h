#pragma once

#include "broker/context.h"
#include "broker/sending.h"
#include "remoting/processors.h"

/// SEND_REPLY_MESSAGE and SEND_REPLY_MESSAGE_V2 (ReplyMessageProcessor): the answer to a message
/// that was sent as a question is pushed over the connection of the client that asked, and stored
/// in <cluster>_REPLY_TOPIC as well (storeReplyMessageEnable). Whoever answers is told whether the
/// push arrived. Where it may go to is what is asked of every send (check_target()).
///
/// Threads: checked on the answering client's loop, or on a worker when its topic has to be made;
/// goes on on the asking client's when it has acknowledged the push, or not in time.
namespace apogee::broker {

void add_request_reply(remoting::Processors& processors, Context& context,
                       const SendSettings& settings);

}  // namespace apogee::broker
