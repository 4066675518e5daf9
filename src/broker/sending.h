#pragma once

#include "broker/context.h"
#include "broker/scheduled_messages.h"
#include "protocol/headers.h"
#include "protocol/message.h"
#include "remoting/processors.h"

/// SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE (SendMessageProcessor).
///
/// Threads: any io thread; state is what Context's tables hold. All sends found in one read are
/// checked and encoded one by one, stored by one append, and answered together: at once
/// (ASYNC_FLUSH), or by the flush thread when they are on disk (SYNC_FLUSH). A send whose topic has
/// to be made first goes on on a worker and is answered when the topic is on disk.
namespace apogee::broker {

class TimerMessages;

/// What the send path needs to know besides the tables. Outlives the processors.
struct SendSettings {
  protocol::Host store_host;  ///< brokerIP1:listenPort, written into records and message ids.
  DelayLevels levels;
  const TimerMessages* timer = nullptr;  ///< Absent: timer messages are refused.
  /// Stored sends whose answers wait for the disk: who stops the broker waits for them before it
  /// closes connections.
  mutable InFlight waiting_answers;
};

void add_sending(remoting::Processors& processors, Context& context, const SendSettings& settings);

/// What a put status means to the sender: response code and remark. The only place where this is
/// decided (SendMessageProcessor.handlePutMessageResult).
struct PutAnswer {
  std::int32_t code;
  std::string remark;
};
PutAnswer put_answer(store::PutStatus status, Context& context);

/// May a producer send there? nullopt: to `topic`, which may hold the one found for another send
/// before. It is null then if it has to be made, or written to disk, first: by a thread that may
/// block, which says so with `may_create`.
std::optional<PutAnswer> check_target(Context& context, const protocol::SendMessageRequest& header,
                                      const remoting::Peer& peer, bool may_create, TopicPtr& topic);

/// Is the message in the log, whatever else is not?
bool is_stored(store::PutStatus status);

}  // namespace apogee::broker
