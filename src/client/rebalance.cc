#include "client/rebalance.h"

#include <fmt/format.h>

#include "client/allocation.h"
#include "client/namespaces.h"
#include "client/thrown.h"
#include "protocol/assignment.h"
#include "protocol/codes.h"

namespace apogee::client {

namespace request = protocol::request_code;
namespace response = protocol::response_code;

namespace {
constexpr int kQuestionsInVainMax = 3;
}

Rebalance::Rebalance(std::shared_ptr<Instance> instance, Settings settings, QueueOwner& owner)
    : instance_{std::move(instance)},
      settings_{std::move(settings)},
      owner_{owner},
      ask_brokers_{!settings_.client_side && settings_.model == MessageModel::kClustering} {}

bool Rebalance::run(const std::set<std::string>& topics) {
  bool balanced = true;
  for (const std::string& topic : topics) {
    if (owner_.ended()) return true;
    balanced = (ask_brokers_ ? by_broker(topic) : by_client(topic)) && balanced;
  }
  if (owner_.ended()) return true;
  for (const auto& [queue, messages] : queues()) {  // of topics that are not wanted any more
    if (topics.contains(queue.topic)) continue;
    messages->dropped = true;
    if (owner_.let_go(queue, *messages)) drop(queue);
  }
  std::erase_if(popped_, [&](const auto& popped) {
    if (topics.contains(popped.first)) return false;
    owner_.pop_from(popped.first, {});
    return true;
  });
  return balanced;
}

Result<std::vector<std::string>> Rebalance::members(const std::string& topic) const {
  const std::string address = instance_->routes().any_broker(topic, instance_->env().random.next());
  if (address.empty()) return Error{Errc::kNotFound, "no broker of " + topic + " is known"};
  const protocol::ConsumerGroupRequest header{.consumer_group = settings_.group};
  auto answer = instance_->call_and_wait(address, request::kGetConsumerListByGroup, header, {},
                                         instance_->config().api_timeout);
  if (!answer) return answer.error();
  if (answer->code != response::kSuccess)
    return Error{Errc::kRefused, answer->remark, answer->code};
  auto body = protocol::decode_body<protocol::ConsumerIdList>(std::string_view{answer->body});
  if (!body) return body.error();
  sort_as_java(body->consumer_id_list);
  return std::move(body->consumer_id_list);
}

Result<Division> Rebalance::divide(const std::string& topic) const {
  auto queues = instance_->routes().subscribe(topic);
  if (!queues) return Error{Errc::kNotFound, "no route to topic " + topic + " is known"};
  Division division{.all = *std::move(queues), .mine = {}};
  sort_as_java(division.all);
  if (settings_.model == MessageModel::kBroadcasting) {
    division.mine = division.all;
    return division;
  }
  auto ids = members(topic);
  if (!ids) return ids.error();
  Result<std::vector<MessageQueue>> mine = Error{Errc::kInvalidArgument, "the allocation threw"};
  guarded(instance_->env().log, "the allocation", settings_.group, [&] {
    mine = settings_.allocation.divide(settings_.group, instance_->id(), division.all, *ids);
  });
  if (!mine) return mine.error();
  division.mine = *std::move(mine);
  return division;
}

bool Rebalance::by_client(const std::string& topic) {
  // Nothing to divide yet: a route that arrives begins a round.
  if (!instance_->routes().subscribe(topic)) return true;
  const auto division = divide(topic);
  if (!division) {
    instance_->env().log.warn("queues not divided: group={} topic={} reason=\"{}\"",
                              settings_.group, topic, division.error().detail);
    return false;
  }
  bool balanced = true;
  const bool changed = take(topic, {division->mine.begin(), division->mine.end()}, balanced);
  owner_.divided(topic, *division, changed);
  return balanced;
}

/// Java's getRebalanceResultFromBroker, with the way back to the client's own algorithm that its
/// last versions have lost: a broker of version 4 does not know the question. One that has answered
/// before and is silent now only hangs.
bool Rebalance::by_broker(const std::string& topic) {
  if (!instance_->routes().subscribe(topic)) return true;
  const auto assigned = ask_broker(topic);
  if (!assigned) {
    const Error& why = assigned.error();
    instance_->env().log.warn("no assignment: group={} topic={} reason=\"{}\"", settings_.group,
                              topic, why.detail);
    const bool silent = why.code == Errc::kTimeout && !answered_;
    if (why.response_code == response::kRequestCodeNotSupported ||
        (silent && ++unanswered_[topic] >= kQuestionsInVainMax)) {
      instance_->env().log.warn("queues are divided by clients from now on: group={}",
                                settings_.group);
      ask_brokers_ = false;
      for (const auto& [each, queues] : popped_) owner_.pop_from(each, {});
      popped_.clear();
    }
    return false;
  }
  bool balanced = true;
  bool changed = take(topic, assigned->pull, balanced);
  if (!assigned->pop.empty() || popped_.contains(topic)) {
    owner_.pop_from(topic, assigned->pop);
    changed = changed || popped_[topic] != assigned->pop;
    if (assigned->pop.empty())
      popped_.erase(topic);
    else
      popped_[topic] = assigned->pop;
  }
  if (assigned->pop.empty() && !assigned->pull.empty()) owner_.pull_from(topic);
  Division division;
  division.mine.assign(assigned->pull.begin(), assigned->pull.end());
  division.mine.insert(division.mine.end(), assigned->pop.begin(), assigned->pop.end());
  owner_.divided(topic, division, changed);
  return balanced;
}

Result<Rebalance::Assigned> Rebalance::ask_broker(const std::string& topic) {
  const std::string address = instance_->routes().any_broker(topic, instance_->env().random.next());
  if (address.empty()) return Error{Errc::kNotFound, "no broker of " + topic + " is known"};
  protocol::QueryAssignmentBody body;
  body.client_id = instance_->id();
  body.consumer_group = settings_.group;
  body.strategy_name = settings_.allocation.name;
  body.topic = topic;
  const Buffer text = protocol::encode_body(body);
  const auto answer =
      instance_->call_and_wait(address, request::kQueryAssignment, protocol::NoFields{},
                               as_bytes(text), instance_->config().api_timeout);
  if (!answer) return answer.error();
  if (answer->code != response::kSuccess)
    return Error{Errc::kRefused, answer->remark, answer->code};
  answered_ = true;
  const auto decoded =
      protocol::decode_body<protocol::QueryAssignmentAnswer>(std::string_view{answer->body});
  if (!decoded) return decoded.error();
  if (!decoded->assignments) return Error{Errc::kNotFound, "the broker assigns nothing yet"};
  Assigned assigned;
  for (const auto& each : *decoded->assignments) {
    const auto& queue = each.message_queue;
    (each.mode == "POP" ? assigned.pop : assigned.pull)
        .insert({queue.topic, queue.broker_name, queue.queue_id});
  }
  return assigned;
}

bool Rebalance::let_go_of_others(const std::string& topic, const std::set<MessageQueue>& mine,
                                 bool& balanced) {
  bool changed = false;
  for (const auto& [queue, messages] : queues()) {
    if (queue.topic != topic) continue;
    const bool idle = settings_.drop_idle && messages->pull_expired();
    if (mine.contains(queue) && !idle && !messages->dropped) continue;
    if (idle)
      instance_->env().log.error("a queue was not pulled from for two minutes: queue={}",
                                 to_string(queue));
    messages->dropped = true;
    if (!owner_.let_go(queue, *messages)) {
      balanced = false;
      continue;
    }
    drop(queue);
    changed = true;
  }
  return changed;
}

bool Rebalance::take(const std::string& topic, const std::set<MessageQueue>& mine, bool& balanced) {
  if (owner_.ended()) return false;
  bool changed = let_go_of_others(topic, mine, balanced);
  std::set<MessageQueue> missing;
  for (const MessageQueue& each : mine)
    if (!find(each)) missing.insert(each);
  if (missing.empty()) return changed;
  const auto allowed = owner_.may_take_on(missing);
  balanced = balanced && allowed.size() == missing.size();
  for (const MessageQueue& each : allowed) {
    if (owner_.ended()) return changed;
    const auto offset = owner_.first_offset_of(each);
    if (!offset) {
      instance_->env().log.warn("queue not begun: queue={} reason=\"{}\"", to_string(each),
                                offset.error().detail);
      balanced = false;
      continue;
    }
    const auto messages = std::make_shared<ProcessQueue>(instance_->env().clock);
    {
      std::lock_guard lock{mutex_};
      queues_[each] = messages;
    }
    instance_->env().log.info("queue begun: group={} queue={} offset={}", settings_.group,
                              to_string(each), *offset);
    changed = true;
    owner_.begin(each, messages, *offset);
  }
  return changed;
}

ProcessQueuePtr Rebalance::find(const MessageQueue& queue) const {
  std::lock_guard lock{mutex_};
  const auto found = queues_.find(queue);
  return found == queues_.end() ? nullptr : found->second;
}

std::map<MessageQueue, ProcessQueuePtr> Rebalance::queues() const {
  std::lock_guard lock{mutex_};
  return queues_;
}

std::set<MessageQueue> Rebalance::names() const {
  std::lock_guard lock{mutex_};
  std::set<MessageQueue> all;
  for (const auto& [queue, messages] : queues_) all.insert(queue);
  return all;
}

ProcessQueuePtr Rebalance::drop(const MessageQueue& queue) {
  std::lock_guard lock{mutex_};
  const auto found = queues_.find(queue);
  if (found == queues_.end()) return nullptr;
  auto messages = std::move(found->second);
  messages->dropped = true;
  queues_.erase(found);
  return messages;
}

void Rebalance::drop_all() {
  std::lock_guard lock{mutex_};
  for (auto& [queue, messages] : queues_) messages->dropped = true;
  queues_.clear();
}

}  // namespace apogee::client
