#include "c/settings.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>

namespace apogee {

template <>
struct OptionNames<Compression> {
  static constexpr std::array<std::pair<std::string_view, Compression>, 3> kNames{
      {{"zlib", Compression::kZlib}, {"lz4", Compression::kLz4}, {"zstd", Compression::kZstd}}};
};

template <>
struct OptionNames<MessageModel> {
  static constexpr std::array<std::pair<std::string_view, MessageModel>, 2> kNames{
      {{"clustering", MessageModel::kClustering}, {"broadcasting", MessageModel::kBroadcasting}}};
};
template <>
struct OptionNames<StartFrom> {
  static constexpr std::array<std::pair<std::string_view, StartFrom>, 3> kNames{
      {{"last", StartFrom::kLast},
       {"first", StartFrom::kFirst},
       {"timestamp", StartFrom::kTimestamp}}};
};

namespace c {
namespace {

constexpr auto kMost = std::numeric_limits<std::int64_t>::max();

template <class T>
OptionView setting(std::string_view name, T& to, std::string_view doc) {
  using options_detail::to_text, options_detail::type_name;
  T least{}, most{};
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    least = std::is_signed_v<T> ? std::numeric_limits<T>::min() : 0;
    most = static_cast<T>(std::min<std::uint64_t>(std::numeric_limits<T>::max(), kMost));
  }
  return {.name = name,
          .type = type_name<T>(),
          .value = to_text(to),
          .range = {},
          .doc = doc,
          .set = [&to, name, least, most](std::string_view text) {
            return options_detail::assign(to, name, text, least, most);
          }};
}

template <class Period>
OptionView setting(std::string_view name, std::chrono::duration<std::int64_t, Period>& to,
                   std::string_view doc) {
  using std::chrono::milliseconds;
  return {.name = name,
          .type = "ms",
          .value = std::to_string(milliseconds{to}.count()),
          .range = {},
          .doc = doc,
          .set = [&to, name](std::string_view text) -> Result<Ok> {
            auto count = options_detail::parse_integer(name, text, 0, kMost / 1'000'000);
            if (!count) return count.error();
            to = std::chrono::duration_cast<std::chrono::duration<std::int64_t, Period>>(
                milliseconds{*count});
            return Ok{};
          }};
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const auto end = text.find(';');
    if (const auto part = text.substr(0, end); !part.empty()) parts.emplace_back(part);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return parts;
}

OptionView setting(std::string_view name, std::vector<std::string>& to, std::string_view doc) {
  std::string text;
  for (const std::string& each : to) text += (text.empty() ? "" : ";") + each;
  return {.name = name,
          .type = "list",
          .value = text,
          .range = {},
          .doc = doc,
          .set = [&to](std::string_view given) -> Result<Ok> {
            to = split(given);
            return Ok{};
          }};
}

OptionView setting(std::string_view name, std::vector<std::int32_t>& to, std::string_view doc) {
  std::string text;
  for (const std::int32_t each : to) text += (text.empty() ? "" : ";") + std::to_string(each);
  return {.name = name,
          .type = "list of int",
          .value = text,
          .range = {},
          .doc = doc,
          .set = [&to, name](std::string_view given) -> Result<Ok> {
            std::vector<std::int32_t> numbers;
            for (const std::string& part : split(given)) {
              auto number = options_detail::parse_integer(name, part,
                                                          std::numeric_limits<std::int32_t>::min(),
                                                          std::numeric_limits<std::int32_t>::max());
              if (!number) return number.error();
              numbers.push_back(static_cast<std::int32_t>(*number));
            }
            to = std::move(numbers);
            return Ok{};
          }};
}

OptionView setting(std::string_view name, Allocation& to, std::string_view doc) {
  return {.name = name,
          .type = "AVG | AVG_BY_CIRCLE | CONSISTENT_HASH",
          .value = to.name,
          .range = {},
          .doc = doc,
          .set = [&to, name](std::string_view text) -> Result<Ok> {
            for (auto& each : {average(), average_by_circle(), consistent_hash()}) {
              if (each.name != text) continue;
              to = each;
              return Ok{};
            }
            return options_detail::bad_choice(name, text, "AVG | AVG_BY_CIRCLE | CONSISTENT_HASH");
          }};
}

OptionView setting(std::string_view name, std::optional<std::chrono::system_clock::time_point>& to,
                   std::string_view doc) {
  return {.name = name,
          .type = "ms",
          .value = {},
          .range = {},
          .doc = doc,
          .set = [&to, name](std::string_view text) -> Result<Ok> {
            auto since_1970 = options_detail::parse_integer(name, text, 0, kMost / 1'000'000);
            if (!since_1970) return since_1970.error();
            to = std::chrono::system_clock::time_point{std::chrono::milliseconds{*since_1970}};
            return Ok{};
          }};
}

/// Those of every consumer that pulls ahead of its program, and `more`.
template <class Config>
std::vector<OptionView> settings_beside(Config& c, std::vector<OptionView> more) {
  std::vector<OptionView> all{
      setting("group", c.group, "required"),
      setting("model", c.model, "to one member of the group, or to all"),
      setting("from", c.from, "where a group without offset begins"),
      setting("from_time", c.from_time, "for from=timestamp, Unix time; empty: half an hour ago"),
      setting("allocation", c.allocation, "how queues are divided"),
      setting("pull_batch_size", c.pull_batch_size, "messages a pull"),
      setting("pull_threshold_for_queue", c.pull_threshold_for_queue,
              "messages ahead of the program, a queue"),
      setting("pull_threshold_size_for_queue", c.pull_threshold_size_for_queue,
              "MiB ahead of the program, a queue"),
      setting("unit_mode", c.unit_mode, "as Java's"),
      setting("offset_directory", c.offset_directory, "broadcasting: where offsets are kept"),
  };
  std::ranges::move(more, std::back_inserter(all));
  return all;
}

}  // namespace

std::vector<OptionView> settings_of(ClientConfig& c) {
  return {
      setting("name_servers", c.name_servers, "host:port each; empty: NAMESRV_ADDR"),
      setting("name_server_domain", c.name_server_domain, "HTTP address server; empty: none"),
      setting("name_server_path", c.name_server_path, "path on the address server"),
      setting("instance_name", c.instance_name, "second part of the client id"),
      setting("client_ip", c.client_ip, "first part of the client id; empty: this machine's"),
      setting("unit_name", c.unit_name, "third part of the client id"),
      setting("name_space", c.name_space, "topics and groups are sent as <name_space>%<name>"),
      setting("name_space_v2", c.name_space_v2,
              "sent beside names with every request, for proxies"),
      setting("stream_requests", c.stream_requests, "says to proxies that this client pulls"),
      setting("zone", c.zone,
              "availability zone whose brokers routes lead to; empty: ROCKETMQ_ZONE, if "
              "ROCKETMQ_ZONE_MODE=true"),
      setting("poll_name_server_interval", c.poll_name_server_interval,
              "between two look-ups of all routes"),
      setting("heartbeat_broker_interval", c.heartbeat_broker_interval, "between two heartbeats"),
      setting("persist_consumer_offset_interval", c.persist_consumer_offset_interval,
              "between two commits of offsets"),
      setting("api_timeout", c.api_timeout, "of the client's own requests"),
      setting("io_threads", c.io_threads, "threads that own connections"),
      setting("worker_threads", c.worker_threads, "threads for what may block"),
      setting("vip_channel", c.vip_channel, "send to the broker's port - 2"),
      setting("heartbeat_v2", c.heartbeat_v2, "fingerprints instead of subscriptions"),
      setting("tls", c.tls.enable, "encrypt all connections"),
      setting("tls_check_server", c.tls.check_server, "the server's certificate must be valid"),
      setting("tls_trust", c.tls.trust, "PEM file; empty: the system's authorities"),
      setting("tls_certificate", c.tls.certificate, "PEM file of the client's own"),
      setting("tls_key", c.tls.key, "PEM file"),
      setting("tls_key_password", c.tls.key_password, "of that key"),
      setting("access_key", c.credentials.access_key, "requests are signed; empty: not"),
      setting("secret_key", c.credentials.secret_key, "what they are signed with"),
      setting("security_token", c.credentials.security_token, "temporary credentials"),
  };
}

std::vector<OptionView> settings_of(ProducerConfig& c) {
  return {
      setting("group", c.group, "required"),
      setting("send_timeout", c.send_timeout, "route, queueing and all attempts together"),
      setting("attempt_timeout", c.attempt_timeout, "of one attempt while others are left; 0: all"),
      setting("retries", c.retries, "of a blocking send, after the first attempt"),
      setting("retries_async", c.retries_async, "of the others, after failures of the transport"),
      setting("retry_when_not_stored_ok", c.retry_when_not_stored_ok,
              "try another broker when the status is not ok"),
      setting("retry_response_codes", c.retry_response_codes,
              "after which a blocking send is tried again"),
      setting("default_topic_queues", c.default_topic_queues, "of a topic made by its first send"),
      setting("create_topic_key", c.create_topic_key, "topic it is made after"),
      setting("max_message_bytes", c.max_message_bytes, "largest body"),
      setting("compress_over_bytes", c.compress_over_bytes, "bodies this large are compressed"),
      setting("compression", c.compression, "how"),
      setting("compression_level", c.compression_level, "how hard"),
      setting("avoid_slow_brokers", c.avoid_slow_brokers, "latency fault tolerance"),
      setting("detect_slow_brokers", c.detect_slow_brokers, "probe the brokers avoided"),
      setting("detect_interval", c.detect_interval, "between two probes of one broker"),
      setting("detect_timeout", c.detect_timeout, "of a probe"),
      setting("topics", c.topics, "whose routes are looked up at the start"),
      setting("max_in_flight", c.max_in_flight, "sends under way at once; 0: any number"),
      setting("max_in_flight_bytes", c.max_in_flight_bytes, "their bodies; 0: any size"),
      setting("batch_delay", c.batch_delay, "gather messages for so long; 0: off"),
      setting("batch_bytes", c.batch_bytes, "bodies of one batch; a larger message goes alone"),
      setting("trace", c.trace, "write each send to the trace topic"),
      setting("trace_topic", c.trace_topic, "its name"),
  };
}

std::vector<OptionView> settings_of(PushConsumerConfig& c) {
  return settings_beside(
      c,
      {
          setting("client_rebalance", c.client_rebalance, "false: brokers divide the queues"),
          setting("consume_thread_min", c.consume_thread_min, "threads that call the function"),
          setting("consume_thread_max", c.consume_thread_max, "not below the other"),
          setting("consume_message_batch_max_size", c.consume_message_batch_max_size,
                  "messages a call"),
          setting("max_reconsume_times", c.max_reconsume_times,
                  "then it is a dead letter; -1: 16, orderly: without end"),
          setting("consume_timeout", c.consume_timeout, "a message held longer is sent back"),
          setting("suspend_current_queue", c.suspend_current_queue, "orderly: before trying again"),
          setting("pull_interval", c.pull_interval, "between two pulls of a queue"),
          setting("pull_batch_size_in_bytes", c.pull_batch_size_in_bytes, "bytes a pull"),
          setting("pull_threshold_for_topic", c.pull_threshold_for_topic,
                  "messages ahead, all queues; -1: none"),
          setting("pull_threshold_size_for_topic", c.pull_threshold_size_for_topic,
                  "MiB ahead, all queues; -1: none"),
          setting("consume_concurrently_max_span", c.consume_concurrently_max_span,
                  "between first and last offset held"),
          setting("post_subscription_when_pull", c.post_subscription_when_pull,
                  "send the expression with each pull"),
          setting("pull_delay_when_exception", c.pull_delay_when_exception,
                  "after a pull that failed"),
          setting("pop_invisible_time", c.pop_invisible_time, "of messages popped"),
          setting("pop_batch_nums", c.pop_batch_nums, "messages a pop"),
          setting("pop_threshold_for_queue", c.pop_threshold_for_queue,
                  "messages waiting for their ack"),
          setting("shutdown_wait", c.shutdown_wait, "for calls that run"),
          setting("trace", c.trace, "write each consumption to the trace topic"),
          setting("trace_topic", c.trace_topic, "its name"),
      });
}

std::vector<OptionView> settings_of(LitePullConsumerConfig& c) {
  return settings_beside(
      c, {
             setting("auto_commit", c.auto_commit, "polling commits what earlier polls returned"),
             setting("auto_commit_interval", c.auto_commit_interval, "so often; at least 1000"),
             setting("pull_threshold_for_all", c.pull_threshold_for_all,
                     "messages ahead of the program"),
             setting("consume_max_span", c.consume_max_span, "between first and last offset held"),
             setting("poll_timeout", c.poll_timeout, "of a poll without one"),
             setting("trace", c.trace, "write what is polled to the trace topic"),
             setting("trace_topic", c.trace_topic, "its name"),
             setting("broker_suspend_max_time", c.broker_suspend_max_time,
                     "a pull waits so long at the broker"),
             setting("consumer_timeout_when_suspend", c.consumer_timeout_when_suspend,
                     "and here; not less than there"),
         });
}

OptionView orderly_setting(bool& orderly) {
  return setting("orderly", orderly, "one queue's messages one after the other");
}

Result<Ok> apply(std::span<const apogee_setting> settings, std::vector<OptionView> known) {
  std::vector<Property> properties;
  for (const apogee_setting& each : settings) {
    if (!each.name || !each.value)
      return Error{Errc::kInvalidArgument, "a setting without name or value"};
    properties.push_back({each.name, each.value});
  }
  std::vector<std::string> warnings;
  return apply_properties(properties, known, "settings", false, warnings);
}

}  // namespace c
}  // namespace apogee
