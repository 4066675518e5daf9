#include "client/puller.h"

#include <fmt/format.h>

#include "client/received.h"
#include "protocol/codes.h"
#include "protocol/names.h"

namespace apogee::client {
namespace {

namespace request_code = protocol::request_code;
namespace response = protocol::response_code;
namespace pull_flag = protocol::pull_flag;
using remoting::OwnedCommand;

constexpr std::int32_t kFlowControl = 215;  // the broker asks for patience
constexpr auto kBrokerBusyDelay = 20ms;

protocol::PullMessageRequest header_of(const PullRequest& request, bool from_master) {
  protocol::PullMessageRequest header;
  header.consumer_group = request.group;
  header.topic = request.queue.topic;
  header.queue_id = request.queue.queue_id;
  header.queue_offset = request.offset;
  header.max_messages = request.max_messages;
  header.max_message_bytes = request.max_bytes;
  header.suspend_timeout_ms = request.suspend.count();
  header.sub_version = request.sub_version;
  header.expression_type = request.subscription->expression_type;
  header.commit_offset = request.commit_offset;
  if (request.commit_offset > 0 && from_master) header.sys_flag |= pull_flag::kCommitOffset;
  if (request.suspend > 0ms) header.sys_flag |= pull_flag::kSuspend;
  if (request.lite) header.sys_flag |= pull_flag::kLitePull;
  if (request.send_subscription) {
    header.sys_flag |= pull_flag::kSubscription;
    header.subscription = request.subscription->sub_string;
  }
  return header;
}

Result<PullStatus> status_of(const OwnedCommand& answer, const std::string& address) {
  switch (answer.code) {
    case response::kSuccess:
      return PullStatus::kFound;
    case response::kPullNotFound:
      return PullStatus::kNoNewMessage;
    case response::kPullRetryImmediately:
      return PullStatus::kNoMatchedMessage;
    case response::kPullOffsetMoved:
      return PullStatus::kOffsetIllegal;
    default:
      return Error{
          Errc::kRefused,
          fmt::format("CODE: {}  DESC: {} BROKER: {}", answer.code, answer.remark, address),
          answer.code};
  }
}

bool wanted(const protocol::SubscriptionData& subscription, const ReceivedMessage& message) {
  return subscription.expression_type != "TAG" || subscription.tags_set.empty() ||
         subscription.tags_set.contains(message.tag);
}

/// What the answer's body holds, as its reader wants it.
Result<Ok> take_messages(const PullRequest& request, const std::string& name_space,
                         const OwnedCommand& answer, std::int64_t offset_delta, PullAnswer& out) {
  std::vector<ReceivedMessage>& messages = *out.messages;
  auto decoded = append_received(as_bytes(answer.body), name_space, request.queue.broker, messages);
  if (!decoded) {
    if (messages.empty()) return decoded;
    // What is whole is consumed; the next pull begins with what is not.
    out.next_offset = messages.back().queue_offset + offset_delta + 1;
  }
  std::erase_if(messages,
                [&](const ReceivedMessage& each) { return !wanted(*request.subscription, each); });
  for (ReceivedMessage& each : messages) {
    each.queue.queue_id = request.queue.queue_id;  // in a static topic the record says another
    each.queue_offset += offset_delta;
    each.properties["MIN_OFFSET"] = std::to_string(out.min_offset);
    each.properties["MAX_OFFSET"] = std::to_string(out.max_offset);
  }
  return Ok{};
}

}  // namespace

void Puller::pull(PullRequest request, Done done) {
  std::int64_t id = 0;
  {
    std::lock_guard lock{learned_->mutex};
    if (const auto found = learned_->broker_ids.find(request.queue);
        found != learned_->broker_ids.end())
      id = found->second;
  }
  const auto broker = instance_->routes().reader(request.queue, id, false);
  if (!broker) {
    instance_->refresh_route(request.queue.topic, instance_->config().api_timeout,
                             [](const Result<PublishInfoPtr>&) {});
    return done(
        Error{Errc::kNotFound, fmt::format("The broker[{}] not exist", request.queue.broker)});
  }
  if (request.lite) {
    std::lock_guard lock{learned_->mutex};
    request.lite = !learned_->plain_only.contains(broker->address);
  }
  const auto code = request.lite ? request_code::kLitePullMessage : request_code::kPullMessage;
  instance_->call(
      broker->address, code, header_of(request, broker->id == 0), {}, request.timeout,
      [self = Puller{*this}, request, address = broker->address,  // a copy: the header's are views
       done = std::move(done)](Result<OwnedCommand> answer) mutable {
        if (request.lite && answer && answer->code == response::kRequestCodeNotSupported) {
          {
            std::lock_guard lock{self.learned_->mutex};
            self.learned_->plain_only.insert(address);  // a broker of version 4
          }
          return self.pull(std::move(request), std::move(done));
        }
        self.answered(request, address, std::move(answer), done);
      });
}

void Puller::answered(const PullRequest& request, const std::string& address,
                      Result<OwnedCommand> answer, const Done& done) {
  if (!answer) {
    if (answer.error().code == Errc::kDisconnected) {
      std::lock_guard lock{learned_->mutex};
      learned_->plain_only.erase(address);
    }
    return done(answer.error());
  }
  const auto status = status_of(*answer, address);
  if (!status) return done(status.error());
  const auto header = remoting::read_header<protocol::PullMessageResponse>(*answer);
  if (!header) return done(header.error());
  {
    std::lock_guard lock{learned_->mutex};
    learned_->broker_ids[request.queue] = header->suggest_which_broker_id;
  }
  PullAnswer out{.status = *status,
                 .next_offset = header->next_begin_offset,
                 .min_offset = header->min_offset,
                 .max_offset = header->max_offset,
                 .messages = std::make_shared<std::vector<ReceivedMessage>>(),
                 .bytes = answer->body.size()};
  if (*status == PullStatus::kFound) {
    if (auto taken = take_messages(request, instance_->config().name_space, *answer,
                                   header->offset_delta.value_or(0), out);
        !taken)
      return done(taken.error());
  }
  done(std::move(out));
}

Clock::Duration Puller::delay_after(const MessageQueue& queue, const Error& error,
                                    Clock::Duration otherwise) const {
  if (error.response_code == kFlowControl) return kBrokerBusyDelay;
  instance_->env().log.warn("pull failed: queue={} reason=\"{}\"", to_string(queue), error.detail);
  return otherwise;
}

void Puller::forget(const MessageQueue& queue) {
  std::lock_guard lock{learned_->mutex};
  learned_->broker_ids.erase(queue);
}

}  // namespace apogee::client
