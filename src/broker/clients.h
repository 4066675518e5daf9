#pragma once

#include "broker/context.h"
#include "remoting/processors.h"

/// What clients say about themselves and ask about each other: heartbeats, leaving, members of a
/// group, queue locks; and calls that go from an operator through the broker to a consumer
/// (ClientManageProcessor, ConsumerManageProcessor, Broker2Client).
///
/// Threads: on the connection's loop, so that what one client says keeps its order. Calls to a
/// consumer are answered from that consumer's loop.
namespace apogee::broker {

void add_clients(remoting::Processors& processors, Context& context);

/// Sends NOTIFY_CONSUMER_IDS_CHANGED to the members; for the constructor of Consumers.
Consumers::Changed notify_members(const LiveConfig& config);

/// A member whose pull names a newer subscription than its heartbeats did is asked for it (request
/// 307). Java's client makes its versions newer at its first rebalance, a second after its start,
/// and leaves out the heartbeat that says so when its timed one is just under way: then its pulls
/// would be refused until the next, 30 s later.
void ask_subscriptions(Context& context, const std::string& group, remoting::Peer& peer);

/// The connection is gone: its memberships and held pulls go too.
void forget_peer(Context& context, const remoting::Peer& peer);

/// Members without a heartbeat for two minutes leave, their connections are closed; expired queue
/// locks go. Every 10 s.
void drop_silent_clients(Context& context);

}  // namespace apogee::broker
