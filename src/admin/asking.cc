#include "admin/asking.h"

#include <fmt/format.h>

#include "protocol/codes.h"

namespace apogee::admin {
namespace {

namespace request = protocol::request_code;
namespace response = protocol::response_code;

/// What is not there, in the words of any request.
bool says_not_found(std::int32_t code) {
  return code == response::kTopicNotExist || code == response::kQueryNotFound ||
         code == response::kSubscriptionGroupNotExist || code == response::kConsumerNotOnline;
}

Result<std::map<std::string, std::string>> brokers_in(const protocol::TopicRouteData& route,
                                                      const std::string& topic) {
  std::map<std::string, std::string> addresses;
  for (const auto& broker : route.broker_datas)
    if (std::string address = address_in(broker.broker_addresses); !address.empty())
      addresses[broker.broker_name] = std::move(address);
  if (addresses.empty())
    return Error{Errc::kNotFound, "no broker that serves topic " + topic + " is registered"};
  return addresses;
}

}  // namespace

Result<Ok> Asking::may_wait() const {
  if (instance_.ending()) return Error{Errc::kStopped, "the client is shut down"};
  if (client::CallbackScope::on_io_thread())
    return Error{Errc::kInvalidArgument,
                 "an administrative call blocks; inside a callback on an io thread it would wait "
                 "for itself"};
  return Ok{};
}

Asking::Answered Asking::checked(const std::string& who, Answered answer) {
  if (!answer || answer->code == response::kSuccess) return answer;
  return Error{says_not_found(answer->code) ? Errc::kNotFound : Errc::kRefused,
               fmt::format("{} answers {}: {}", who, answer->code, answer->remark), answer->code};
}

Result<protocol::ClusterInfo> Asking::clusters() {
  return body_of_name_server<protocol::ClusterInfo>(request::kGetBrokerClusterInfo,
                                                    protocol::NoFields{});
}

Result<protocol::TopicRouteData> Asking::route(const std::string& topic) {
  protocol::RouteRequest header;
  header.topic = topic;
  header.accept_standard_json_only = true;
  return body_of_name_server<protocol::TopicRouteData>(request::kGetRouteInfoByTopic, header);
}

Result<std::map<std::string, std::string>> Asking::brokers_of(const std::string& topic) {
  const auto where = route(topic);
  if (!where) return where.error();
  return brokers_in(*where, topic);
}

Result<std::string> Asking::address_of(const MessageQueue& queue) {
  const auto where = route(queue.topic);
  if (!where) return where.error();
  const auto brokers = brokers_in(*where, queue.topic);
  if (!brokers) return brokers.error();
  const auto hosts = client::hosts_of(queue.topic, *where);
  const auto host = hosts.find(queue);
  const std::string& name = host == hosts.end() ? queue.broker : host->second;
  const auto found = brokers->find(name);
  if (found == brokers->end())
    return Error{Errc::kNotFound, "broker " + name + " does not serve topic " + queue.topic};
  return found->second;
}

Result<Ok> Asking::learn_route(const std::string& topic) {
  if (auto may = may_wait(); !may) return may;
  if (instance_.routes().subscribe(topic)) return Ok{};
  std::promise<Result<Ok>> promise;
  instance_.refresh_route(topic, left(), [&](const Result<client::PublishInfoPtr>& route) {
    if (route) return promise.set_value(Ok{});
    Error error = route.error();
    if (says_not_found(error.response_code)) error.code = Errc::kNotFound;
    promise.set_value(std::move(error));
  });
  return promise.get_future().get();
}

std::string address_in(const std::map<std::int64_t, std::string>& addresses) {
  return addresses.empty() ? std::string{} : addresses.begin()->second;  // 0 is the smallest
}

MessageQueue queue_of(const protocol::MessageQueue& queue) {
  return {queue.topic, queue.broker_name, queue.queue_id};
}

std::string version_name(std::int32_t ordinal) {
  // From V4_0_0 to V5_9_9 every version has two ordinals: its snapshot's and its own.
  constexpr std::int32_t kFirst = 212, kLast = 611;
  if (ordinal > kLast) return "HIGHER_VERSION";
  if (ordinal < kFirst) return fmt::format("V3 ({})", ordinal);
  const std::int32_t index = (ordinal - kFirst) / 2;
  return fmt::format("V{}_{}_{}{}", 4 + index / 100, index / 10 % 10, index % 10,
                     ordinal % 2 == 0 ? "_SNAPSHOT" : "");
}

std::string attributes_text(const std::map<std::string, std::string>& attributes) {
  std::string text;
  for (const auto& [name, value] : attributes) {
    if (!text.empty()) text += ",";
    text += name.starts_with("-") ? name : name + "=" + value;
  }
  return text;
}

}  // namespace apogee::admin
