// Takes the address of what the headers declare, so that a symbol the library forgot to export does
// not link.
#include <apogee/admin.h>
#include <apogee/client.h>

namespace {

template <class Function>
bool there(Function function) {
  static volatile Function kept;
  kept = function;
  return kept != nullptr;
}

using P = apogee::Producer;
using Ms = std::chrono::milliseconds;
using apogee::Message, apogee::MessageQueue, apogee::Ok, apogee::QueueSelector,
    apogee::ReceivedMessage, apogee::Result, apogee::SendReceipt;

bool producer() {
  return there(&P::shutdown_async) && there<void (P::*)()>(&P::shutdown) &&
         there(&P::reply_async) && there(&P::recall_async) && there(&P::queues_async) &&
         there(&P::statistics) &&
         there<Result<ReceivedMessage> (P::*)(const Message&, Ms)>(&P::request) &&
         there<Result<ReceivedMessage> (P::*)(const Message&, const MessageQueue&, Ms)>(
             &P::request) &&
         there<apogee::Awaitable<ReceivedMessage> (P::*)(Message, QueueSelector, Ms)>(
             &P::request_async) &&
         there<Result<SendReceipt> (P::*)(std::span<const Message>, const MessageQueue&, Ms)>(
             &P::send) &&
         there(&apogee::AvoidStep::defaults) &&
         there<Result<SendReceipt> (P::*)(const Message&)>(&P::send) &&
         there<Result<SendReceipt> (P::*)(const Message&, Ms)>(&P::send) &&
         there<void (P::*)(Message, Ms, P::Callback)>(&P::send) &&
         there<Result<SendReceipt> (P::*)(const Message&, const QueueSelector&, Ms)>(&P::send) &&
         there<void (P::*)(Message, QueueSelector, Ms, P::Callback)>(&P::send) &&
         there<Result<SendReceipt> (P::*)(const Message&, const MessageQueue&, Ms)>(&P::send) &&
         there<void (P::*)(Message, const MessageQueue&, Ms, P::Callback)>(&P::send) &&
         there<Result<SendReceipt> (P::*)(std::span<const Message>, Ms)>(&P::send) &&
         there<void (P::*)(std::span<const Message>, Ms, P::Callback)>(&P::send) &&
         there<Result<Ok> (P::*)(const Message&)>(&P::send_oneway) &&
         there<apogee::Awaitable<SendReceipt> (P::*)(Message, Ms)>(&P::send_async);
}

bool client() {
  using apogee::Client;
  using apogee::PushConsumer, apogee::PushConsumerConfig;
  using Started = std::function<void(Result<PushConsumer>)>;
  return there(&Client::start) && there<void (Client::*)()>(&Client::shutdown) &&
         there(&Client::shutdown_async) && there(&Client::producer) &&
         there(&Client::transactional_producer) && there(&Client::push_consumer_async) &&
         there<Result<PushConsumer> (Client::*)(PushConsumerConfig)>(&Client::push_consumer) &&
         there<void (Client::*)(PushConsumerConfig, Started)>(&Client::push_consumer) &&
         there(&Client::admin) && there(&Client::id) && there(&apogee::by_key) &&
         there(&apogee::by_random);
}

bool pull_consumers() {
  using L = apogee::LitePullConsumer;
  using P = apogee::PullConsumer;
  using apogee::ReceivedMessage;
  return there(&L::shutdown_async) && there(&P::shutdown_async) && there(&L::subscribe) &&
         there(&L::assign) && there(&L::pause) && there(&L::on_queues_changed) &&
         there(&L::poll_async) && there(&L::seek_async) && there(&L::committed_async) &&
         there(&L::queues_async) &&
         there<Result<Ok> (L::*)(const MessageQueue&, std::int64_t)>(&L::seek) &&
         there<void (L::*)(Ms, L::Callback<L::Messages>)>(&L::poll) && there(&P::pull_async) &&
         there(&P::fetch_offset_async) && there(&P::min_offset_async) &&
         there(&P::send_back_async) &&
         there<Result<Ok> (P::*)(const ReceivedMessage&, std::int32_t)>(&P::send_back);
}

bool push_consumer() {
  using P = apogee::PushConsumer;
  return there(&P::shutdown_async) && there<void (P::*)()>(&P::shutdown) && there(&P::suspend) &&
         there(&P::resume) && there(&P::subscribe) && there(&P::unsubscribe) && there(&P::queues) &&
         there(&P::statistics) && there(&apogee::average) && there(&apogee::average_by_circle) &&
         there(&apogee::by_config) && there(&apogee::by_machine_room) &&
         there(&apogee::consistent_hash) && there(&apogee::by_nearby_room);
}

bool admin() {
  using A = apogee::Admin;
  return there(&A::brokers) && there(&A::masters) && there(&A::create_topic) &&
         there(&A::delete_topic) && there(&A::create_group) && there(&A::progress) &&
         there(&A::reset_offsets) && there(&A::queues) && there(&A::message_by_offset_id) &&
         there(&apogee::admin::Progress::lag);
}

}  // namespace

int main() {
  return producer() && client() && push_consumer() && pull_consumers() && admin() ? 0 : 1;
}
