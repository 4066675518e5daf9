#include "client/queue_locks.h"

#include "protocol/codes.h"

namespace apogee::client {

namespace request = protocol::request_code;
namespace response = protocol::response_code;

namespace {
constexpr auto kLockTimeout = 1'000ms;
}

std::map<std::string, protocol::LockBatchBody> QueueLocks::by_broker(
    const std::set<MessageQueue>& queues) const {
  std::map<std::string, protocol::LockBatchBody> bodies;
  for (const MessageQueue& each : queues) {
    protocol::LockBatchBody& body = bodies[instance_->routes().host(each)];
    body.client_id = instance_->id();
    body.consumer_group = owner_.group();
    body.mq_set.insert({each.broker, each.queue_id, each.topic});
  }
  return bodies;
}

QueueLocks::Answer QueueLocks::ask(const std::set<MessageQueue>& queues) const {
  Answer result;
  for (const auto& [broker, body] : by_broker(queues)) {
    const std::string address = instance_->routes().master(broker);
    if (address.empty()) continue;
    const Buffer text = protocol::encode_body(body);
    const auto answer = instance_->call_and_wait(
        address, request::kLockBatchMq, protocol::NoFields{}, as_bytes(text), kLockTimeout);
    if (!answer || answer->code != response::kSuccess) {
      instance_->env().log.warn("queues not locked: group={} broker={} reason=\"{}\"",
                                owner_.group(), broker,
                                answer ? answer->remark : answer.error().detail);
      continue;
    }
    const auto locked =
        protocol::decode_body<protocol::LockBatchAnswer>(std::string_view{answer->body});
    if (!locked) continue;
    for (const auto& each : body.mq_set) {
      auto& where = locked->lock_ok_mq_set.contains(each) ? result.locked : result.refused;
      where.insert({each.topic, each.broker_name, each.queue_id});
    }
  }
  return result;
}

QueueLocks::Answer QueueLocks::lock(const std::set<MessageQueue>& queues) {
  {
    std::lock_guard lock{mutex_};
    if (given_back_) return {};
    asked_.insert(queues.begin(), queues.end());
  }
  Answer answer = ask(queues);
  {
    std::lock_guard lock{mutex_};
    if (!given_back_) return answer;
  }
  unlock(queues);
  return {};
}

void QueueLocks::unlock(const std::set<MessageQueue>& queues) {
  {
    std::lock_guard lock{mutex_};
    for (const MessageQueue& each : queues) asked_.erase(each);
  }
  if (followed()) return;
  for (const auto& [broker, body] : by_broker(queues)) {
    const std::string address = instance_->routes().master(broker);
    if (address.empty()) continue;
    const Buffer text = protocol::encode_body(body);
    instance_->oneway(address, request::kUnlockBatchMq, protocol::NoFields{}, as_bytes(text));
  }
}

void QueueLocks::give_back() {
  std::set<MessageQueue> all;
  {
    std::lock_guard lock{mutex_};
    given_back_ = true;
    all.swap(asked_);
  }
  unlock(all);
}

bool QueueLocks::followed() const {
  const auto now = instance_->consumer(owner_.group());
  return now && now.get() != &owner_;
}

}  // namespace apogee::client
