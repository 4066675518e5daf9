#include <algorithm>
#include <future>
#include <map>
#include <optional>

#include "admin/asking.h"
#include "admin/trace.h"
#include "client/puller.h"
#include "client/received.h"
#include "client/routes.h"
#include "protocol/codes.h"
#include "protocol/names.h"

namespace apogee {
namespace {

namespace request = protocol::request_code;
namespace response = protocol::response_code;
using admin::Asking;

Result<std::vector<ReceivedMessage>> messages_in(const Buffer& body, const std::string& broker) {
  std::vector<ReceivedMessage> messages;
  if (auto read = client::append_received(as_bytes(body), {}, broker, messages); !read)
    return read.error();
  return messages;
}

/// What one broker found. The index knows hashes: what only shares the topic's and the key's is not
/// meant.
Result<std::vector<ReceivedMessage>> found_by(const std::string& broker, const std::string& address,
                                              const Asking::Answered& answer,
                                              const Admin::KeyQuery& query) {
  if (!answer) return answer.error();
  if (answer->code == response::kQueryNotFound) return std::vector<ReceivedMessage>{};
  if (answer->code != response::kSuccess)
    return Error{Errc::kRefused, address + " answers: " + answer->remark, answer->code};
  auto found = messages_in(answer->body, broker);
  if (!found) return found;
  std::erase_if(*found, [&](const ReceivedMessage& each) {
    if (each.topic != query.topic) return true;
    return query.unique ? each.message_id != query.key
                        : std::ranges::find(each.keys, query.key) == each.keys.end();
  });
  return found;
}

/// All brokers of the topic at once, as Java's MQAdminImpl: one that is gone or hangs takes nothing
/// from what the others have. An error if none answers.
Result<std::vector<ReceivedMessage>> query(Asking& ask, const Admin::KeyQuery& query) {
  auto brokers = ask.brokers_of(query.topic);
  if (!brokers) return brokers.error();
  protocol::QueryMessageRequest header;
  header.topic = query.topic;
  header.key = query.key;
  header.max_num = query.max;
  header.begin_timestamp = query.begin;
  header.end_timestamp = query.end;
  if (query.unique) header.unique_key_query = "true";
  std::map<std::string, std::future<Asking::Answered>> answers;
  for (const auto& [name, address] : *brokers)
    answers[name] = ask.begin(address, request::kQueryMessage, header);
  std::vector<ReceivedMessage> all;
  std::optional<Error> failure;
  bool answered = false;
  for (const auto& [name, address] : *brokers) {
    auto found = found_by(name, address, answers[name].get(), query);
    if (found) {
      answered = true;
      std::ranges::move(*found, std::back_inserter(all));
      continue;
    }
    ask.instance().env().log.warn("query by key failed: broker={} address={} reason=\"{}\"", name,
                                  address, found.error().detail);
    failure = found.error();
  }
  if (!answered) return *std::move(failure);
  std::ranges::sort(all, {}, &ReceivedMessage::stored);
  if (all.size() > static_cast<std::size_t>(query.max))
    all.resize(static_cast<std::size_t>(query.max));
  return all;
}

/// Has the group passed the message? DefaultMQAdminExtImpl.consumed.
bool consumed(const admin::GroupProgress& progress, const ReceivedMessage& message,
              const std::string& broker) {
  return std::ranges::any_of(progress.queues, [&](const admin::QueueProgress& each) {
    return each.queue.topic == message.topic && each.queue.queue_id == message.queue.queue_id &&
           each.queue.broker == broker && each.consumer_offset > message.queue_offset;
  });
}

bool filtered(const admin::ConsumerConnections& connections, const ReceivedMessage& message) {
  for (const auto& each : connections.subscriptions) {
    if (each.topic != message.topic || each.type != "TAG") continue;
    auto subscription = protocol::subscription_from(each.topic, each.expression, each.type, 0);
    if (!subscription) continue;
    const auto& tags = subscription->tags_set;
    return !tags.empty() && !tags.contains("*") && !tags.contains(message.tag);
  }
  return false;
}

struct DirectBody {
  bool order = false, auto_commit = true;
  std::string consume_result, remark;
  std::int64_t spent = 0;
  using Self = DirectBody;
  static constexpr auto kFields = MemberList{
      protocol::Field{"order", &Self::order}, protocol::Field{"autoCommit", &Self::auto_commit},
      protocol::Field{"consumeResult", &Self::consume_result},
      protocol::Field{"remark", &Self::remark}, protocol::Field{"spentTimeMills", &Self::spent}};
};

}  // namespace

Result<std::vector<MessageQueue>> Admin::queues(const std::string& topic, Milliseconds timeout) {
  auto route = Asking{*instance_, timeout}.route(topic);
  if (!route) return route.error();
  return client::readable_queues(topic, *route);
}

Result<ReceivedMessage> Admin::message_by_offset_id(const std::string& id, Milliseconds timeout) {
  auto parsed = protocol::parse_offset_message_id(id);
  if (!parsed) return Error{Errc::kInvalidArgument, parsed.error().detail};
  const std::string address = protocol::to_string(parsed->host);
  auto answer = Asking{*instance_, timeout}.raw(
      address, request::kViewMessageById,
      protocol::ViewMessageRequest{.offset = parsed->physical_offset});
  if (!answer) return answer.error();
  if (answer->code != response::kSuccess)
    return Error{Errc::kNotFound, address + " has no message " + id + ": " + answer->remark,
                 answer->code};
  auto messages = messages_in(answer->body, {});
  if (!messages) return messages.error();
  if (messages->empty()) return Error{Errc::kNotFound, address + " has no message " + id};
  return std::move(messages->front());
}

Result<std::vector<ReceivedMessage>> Admin::messages_by_key(const KeyQuery& asked,
                                                            Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  return query(ask, asked);
}

Result<admin::Pulled> Admin::pull(const MessageQueue& queue, const std::string& group,
                                  std::int64_t offset, std::int32_t max, Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  if (auto known = ask.learn_route(queue.topic); !known) return known.error();
  client::PullRequest request;
  request.queue = queue;
  request.group = group;
  request.offset = offset;
  request.max_messages = max;
  request.subscription = std::make_shared<protocol::SubscriptionData>(
      *protocol::subscription_from(queue.topic, "*", "TAG", 0));
  request.timeout = ask.left();
  std::promise<Result<client::PullAnswer>> promise;
  client::Puller{instance_}.pull(
      request, [&](Result<client::PullAnswer> answer) { promise.set_value(std::move(answer)); });
  auto answer = promise.get_future().get();
  if (!answer) return answer.error();
  return admin::Pulled{.messages = std::move(*answer->messages),
                       .next_offset = answer->next_offset,
                       .min_offset = answer->min_offset,
                       .max_offset = answer->max_offset};
}

Result<ReceivedMessage> Admin::message_by_offset(const MessageQueue& queue, std::int64_t offset,
                                                 Milliseconds timeout) {
  auto pulled = pull(queue, std::string{protocol::kToolsGroup}, offset, 1, timeout);
  if (!pulled) return pulled.error();
  if (pulled->messages.empty() || pulled->messages.front().queue_offset != offset)
    return Error{Errc::kNotFound, "there is no message at offset " + std::to_string(offset) +
                                      " of " + to_string(queue) + "; it has " +
                                      std::to_string(pulled->min_offset) + " to " +
                                      std::to_string(pulled->max_offset - 1)};
  return std::move(pulled->messages.front());
}

Result<std::vector<admin::Track>> Admin::track(const ReceivedMessage& message,
                                               Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  auto groups = groups_of_topic(message.topic, ask.left());
  if (!groups) return groups.error();
  auto all = brokers(ask.left());
  if (!all) return all.error();
  std::string broker;
  for (const admin::Broker& each : *all)
    if (each.address == message.store_host) broker = each.name;
  std::vector<admin::Track> tracks;
  for (const std::string& group : *groups) {
    admin::Track track{.group = group, .state = "UNKNOWN", .reason = {}};
    const auto connections = consumer_connections(group, ask.left());
    if (!connections) {
      if (connections.error().code == Errc::kNotFound) track.state = "NOT_ONLINE";
      track.reason = connections.error().detail;
    } else if (connections->consume_type == "CONSUME_ACTIVELY") {
      track.state = "PULL";
    } else if (connections->message_model == "BROADCASTING") {
      track.state = "CONSUME_BROADCASTING";
    } else if (const auto stands = progress(group, message.topic, ask.left()); !stands) {
      track.reason = stands.error().detail;
    } else {
      track.state = !consumed(*stands, message, broker) ? "NOT_CONSUME_YET"
                    : filtered(*connections, message)   ? "CONSUMED_BUT_FILTERED"
                                                        : "CONSUMED";
    }
    tracks.push_back(std::move(track));
  }
  return tracks;
}

Result<admin::DirectResult> Admin::consume_directly(const std::string& group,
                                                    const std::string& client_id,
                                                    const ReceivedMessage& message,
                                                    Milliseconds timeout) {
  protocol::ConsumeMessageDirectlyRequest header;
  header.consumer_group = group;
  header.client_id = client_id;
  header.topic = message.topic;
  header.message_id = message.offset_message_id;
  auto body = Asking{*instance_, timeout}.body_of<DirectBody>(
      message.store_host, request::kConsumeMessageDirectly, header);
  if (!body) return body.error();
  return admin::DirectResult{.outcome = body->consume_result,
                             .ordered = body->order,
                             .auto_commit = body->auto_commit,
                             .remark = body->remark,
                             .took_ms = body->spent};
}

Result<std::vector<admin::TraceEvent>> Admin::trace(const KeyQuery& asked, Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  auto messages = query(ask, asked);
  if (!messages) return messages.error();
  std::vector<admin::TraceEvent> events;
  for (const ReceivedMessage& each : *messages) admin::append_trace(each, asked.key, events);
  std::ranges::stable_sort(events, {}, &admin::TraceEvent::time);
  return events;
}

}  // namespace apogee
