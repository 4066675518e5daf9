#include "broker/metrics.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "broker/popping.h"
#include "broker/timer_messages.h"
#include "broker/transactions.h"
#include "protocol/codes.h"
#include "protocol/names.h"
#include "protocol/pop.h"
#include "protocol/request_names.h"

namespace apogee::broker {
namespace {

constexpr std::string_view kOther = "other";  // all series beyond the most allowed

std::string lower(std::string_view text) {
  std::string result{text};
  for (char& each : result)
    if (each >= 'A' && each <= 'Z') each = static_cast<char>(each - 'A' + 'a');
  return result;
}

std::string flag(bool value) {
  return value ? "true" : "false";
}

bool is_system_group(std::string_view group) {
  return lower(group).starts_with("cid_rmq_sys_");
}
bool is_system(std::string_view topic, std::string_view group) {
  return protocol::is_system_topic(topic) || is_system_group(group);
}

std::string number(double value) {
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

void append_escaped(Buffer& out, std::string_view text) {
  for (const char each : text) {
    if (each == '\\' || each == '"') out += '\\';
    if (each == '\n')
      out += "\\n";
    else
      out += each;
  }
}

}  // namespace

// ---- Exposition ---------------------------------------------------------------------------------

Exposition::Exposition(Labels common, std::size_t series_max)
    : common_{std::move(common)}, series_max_{series_max} {}

void Exposition::family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void Exposition::series(std::string_view suffix, const Labels& labels, std::string_view le,
                        double value) {
  out_ += name_;
  out_ += suffix;
  char separator = '{';
  const auto label = [&](std::string_view name, std::string_view text) {
    out_ += separator;
    out_ += name;
    out_ += "=\"";
    append_escaped(out_, text);
    out_ += '"';
    separator = ',';
  };
  for (const auto& [name, text] : common_) label(name, text);
  for (const auto& [name, text] : labels) label(name, text);
  if (!le.empty()) label("le", le);
  if (separator == ',') out_ += '}';
  out_ += ' ';
  out_ += number(value);
  out_ += '\n';
}

void Exposition::value(const Labels& labels, double value) {
  series("", labels, "", value);
}

void Exposition::histogram(const Labels& labels, std::span<const double> bounds,
                           std::span<const std::uint64_t> counts, double sum) {
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    below += counts[i];
    const double bound = i < bounds.size() ? bounds[i] : HUGE_VAL;
    // With a decimal point, as the published exporter writes it: boards compare the text.
    std::string le = number(bound);
    if (le.find_first_of(".eI") == std::string::npos) le += ".0";
    series("_bucket", labels, le, static_cast<double>(below));
  }
  series("_count", labels, "", static_cast<double>(below));
  series("_sum", labels, "", sum);
}

Result<Labels> parse_labels(std::string_view text) {
  const auto is_name = [](std::string_view name) {
    return !name.empty() && (name[0] < '0' || name[0] > '9') &&
           std::ranges::all_of(name, [](char each) {
             return (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') ||
                    (each >= '0' && each <= '9') || each == '_';
           });
  };
  Labels labels;
  while (!text.empty()) {
    const std::size_t end = text.find(',');
    const std::string_view each = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (each.empty()) continue;
    const std::size_t colon = each.find(':');
    if (colon == std::string_view::npos || !is_name(each.substr(0, colon)))
      return Error{Errc::kInvalidArgument,
                   "metricsLabel: '" + std::string{each} + "' is not name:value"};
    labels.emplace_back(each.substr(0, colon), each.substr(colon + 1));
  }
  return labels;
}

namespace {

// ---- Bounded sets of series ---------------------------------------------------------------------

/// Values by labels; once there are too many, further ones are added up under "other".
template <class Value>
class Series {
 public:
  explicit Series(std::size_t most) : most_{most} {}
  /// `other`: the labels of the rest.
  Value& at(const Labels& labels, const Labels& other) {
    const auto found = values_.find(labels);
    if (found != values_.end()) return found->second;
    if (values_.size() < most_) return values_[labels];
    ++folded_;
    return values_[other];
  }
  const std::map<Labels, Value>& all() const { return values_; }
  std::size_t folded() const { return folded_; }

 private:
  const std::size_t most_;
  std::map<Labels, Value> values_;
  std::size_t folded_ = 0;
};

/// One page under way.
class Page {
 public:
  Page(Context& context, const MetricsSources& sources, Exposition& out)
      : context_{context}, sources_{sources}, out_{out} {}

  void write() {
    broker();
    messages_in();
    messages_out();
    connections();
    lag();
    queue_lag();
    if (sources_.transactions) transactions();
    if (sources_.timer) timer();
    if (sources_.popping) pops();
    storage();
    requests();
    stages();
    out_.family("apogee_metrics_series_folded", "gauge",
                "Series of a metric that were added up under \"other\" "
                "(metricsOtelCardinalityLimit)");
    for (const auto& [name, count] : folded_)
      out_.value({{"metric", name}}, static_cast<double>(count));
  }

 private:
  void gauge(std::string_view name, std::string_view help, double value,
             const Labels& labels = {}) {
    out_.family(name, "gauge", help);
    out_.value(labels, value);
  }
  template <class Value>
  void write_series(std::string_view name, std::string_view type, std::string_view help,
                    const Series<Value>& series, auto&& value_of) {
    out_.family(name, type, help);
    for (const auto& [labels, value] : series.all())
      out_.value(labels, static_cast<double>(value_of(value)));
    if (series.folded() > 0) folded_[std::string{name}] = series.folded();
  }

  // ---- The broker itself ----

  void broker() {
    out_.family("rocketmq_processor_watermark", "gauge", "Request processor watermark");
    // Everything but what goes to the workers and the readers is handled where it arrives: nothing
    // can queue.
    for (const char* processor :
         {"ack", "async_put", "client_manager", "consumer_manager", "heartbeat", "lite_pull",
          "query_message", "reply", "send", "transaction"})
      out_.value({{"processor", processor}}, 0);
    out_.value({{"processor", "pull"}}, context_.readers.waiting());
    out_.value({{"processor", "admin"}},
               sources_.waiting_for_workers ? sources_.waiting_for_workers() : 0);
    gauge("rocketmq_broker_permission", "Broker permission", context_.settings().permission);
    gauge("rocketmq_topic_number", "Active topic number",
          static_cast<double>(context_.topics.all().size()));
    gauge("rocketmq_consumer_group_number", "Active subscription group number",
          static_cast<double>(context_.groups.all().size()));
    if (sources_.connections)
      gauge("apogee_connections", "Open connections", static_cast<double>(sources_.connections()));
  }

  // ---- Messages ----

  void messages_in() {
    using In = Stats::In;
    struct Sum {
      std::int64_t messages = 0, bytes = 0;
      std::array<std::uint64_t, kMessageSizeBounds.size() + 1> sizes{};
    };
    Series<Sum> series{out_.series_max()};
    context_.stats.for_each_topic([&](std::string_view topic, const In& in) {
      if (protocol::is_retry_topic(topic) || protocol::is_dlq_topic(topic)) return;
      for (std::size_t type = 0; type < kMessageTypeNames.size(); ++type) {
        if (in.messages[type] == 0) continue;
        const auto labels = [&](std::string_view name, bool system) {
          return Labels{{"is_system", flag(system)},
                        {"message_type", std::string{kMessageTypeNames[type]}},
                        {"topic", std::string{name}}};
        };
        Sum& sum =
            series.at(labels(topic, protocol::is_system_topic(topic)), labels(kOther, false));
        sum.messages += in.messages[type];
        sum.bytes += in.bytes[type];
        for (std::size_t i = 0; i < sum.sizes.size(); ++i)
          sum.sizes[i] += static_cast<std::uint64_t>(in.sizes[type][i]);
      }
    });
    write_series("rocketmq_messages_in_total", "counter", "Total number of incoming messages",
                 series, [](const Sum& sum) { return sum.messages; });
    write_series("rocketmq_throughput_in_total", "counter", "Total traffic of incoming messages",
                 series, [](const Sum& sum) { return sum.bytes; });
    out_.family("rocketmq_message_size", "histogram", "Incoming messages size");
    const std::vector<double> bounds{kMessageSizeBounds.begin(), kMessageSizeBounds.end()};
    for (const auto& [labels, sum] : series.all())
      out_.histogram(labels, bounds, sum.sizes, static_cast<double>(sum.bytes));
  }

  void messages_out() {
    Series<Stats::Out> series{out_.series_max()};
    context_.stats.for_each_group(
        [&](std::string_view topic, std::string_view group, const Stats::Out& out) {
          Stats::Out& sum = series.at(group_labels(topic, group), group_labels(kOther, kOther));
          sum.messages += out.messages;
          sum.bytes += out.bytes;
          sum.dead_letters += out.dead_letters;
        });
    write_series("rocketmq_messages_out_total", "counter", "Total number of outgoing messages",
                 series, [](const Stats::Out& out) { return out.messages; });
    write_series("rocketmq_throughput_out_total", "counter", "Total traffic of outgoing messages",
                 series, [](const Stats::Out& out) { return out.bytes; });
    out_.family("rocketmq_send_to_dlq_messages_total", "counter", "Consumer send to DLQ messages");
    for (const auto& [labels, out] : series.all())
      if (out.dead_letters > 0) out_.value(labels, static_cast<double>(out.dead_letters));
  }

  static Labels group_labels(std::string_view topic, std::string_view group) {
    return {{"consumer_group", std::string{group}},
            {"is_system", flag(is_system(topic, group))},
            {"topic", std::string{topic}}};
  }

  // ---- Clients ----

  /// MQVersion.getVersionDesc. The ordinals of versions before 4.0 follow another rule and are
  /// given as they are.
  static std::string version_text(std::int32_t ordinal) {
    constexpr std::int32_t kBase = 13, kFirst = 213;  // V4_0_0
    if (ordinal < kFirst) return std::to_string(ordinal);
    const bool snapshot = ordinal % 2 == 0;
    const std::int32_t version = 300 + (ordinal - kBase + (snapshot ? 1 : 0)) / 2;
    return fmt::format("v{}_{}_{}{}", version / 100, version / 10 % 10, version % 10,
                       snapshot ? "_snapshot" : "");
  }
  static std::string_view mode_text(protocol::ConsumeType type) {
    switch (type) {
      case protocol::ConsumeType::kActively:
        return "pull";
      case protocol::ConsumeType::kPassively:
        return "push";
      case protocol::ConsumeType::kPop:
        return "pop";
    }
    return "push";
  }

  void connections() {
    Series<std::int64_t> producers{out_.series_max()}, consumers{out_.series_max()};
    const auto client = [](const Member& each) {
      return Labels{{"language", lower(name_of(each.client.language))},
                    {"protocol_type", "remoting"},
                    {"version", version_text(each.client.version)}};
    };
    for (const auto& [group, members] : context_.producers.all())
      for (const Member& each : members) ++producers.at(client(each), {{"version", "other"}});
    write_series("rocketmq_producer_connections", "gauge", "Producer connections", producers,
                 [](std::int64_t count) { return count; });
    for (const std::string& group : context_.consumers.groups()) {
      const auto snapshot = context_.consumers.snapshot(group);
      if (!snapshot) continue;
      for (const Member& each : snapshot->members) {
        const auto labels = [&](std::string_view name) {
          Labels all{{"consume_mode", std::string{mode_text(snapshot->mode.type)}},
                     {"consumer_group", std::string{name}},
                     {"is_system", flag(is_system_group(name))}};
          std::ranges::move(client(each), std::back_inserter(all));
          return all;
        };
        ++consumers.at(labels(group), labels(kOther));
      }
    }
    write_series("rocketmq_consumer_connections", "gauge", "Consumer connections", consumers,
                 [](std::int64_t count) { return count; });
  }

  // ---- How far groups are behind (ConsumerLagCalculator) ----

  struct Lag {
    std::int64_t lag = 0, in_flight = 0, ready = 0;
    std::int64_t oldest_unconsumed_ms = 0, oldest_unpulled_ms = 0;  // 0: none
  };

  void lag() {
    Series<Lag> series{out_.series_max()};
    for (const GroupPtr& group : context_.groups.all()) {
      const auto online = context_.consumers.snapshot(group->group_name);
      if (!online) continue;
      const bool pop = online->mode.type == protocol::ConsumeType::kPop;
      for (const SubscriptionPtr& each : online->subscriptions) {
        const std::string& topic = each->data.topic;
        if (protocol::is_retry_topic(topic) || !context_.topics.contains(topic)) continue;
        add_lag(series, group->group_name, topic, topic, false);
        if (pop)
          add_lag(series, group->group_name, topic, pop_retry_of(group->group_name, topic), true);
      }
    }
    const std::int64_t now = context_.env.clock.wall_ms();
    const auto age = [now](std::int64_t since) { return since > 0 ? now - since : 0; };
    const auto write = [&](const char* name, const char* help, auto&& value_of) {
      write_series(name, "gauge", help, series, value_of);
    };
    write("rocketmq_consumer_lag_messages", "Consumer lag messages",
          [](const Lag& lag) { return lag.lag; });
    write("rocketmq_consumer_lag_latency_milliseconds", "Consumer lag time",
          [&](const Lag& lag) { return age(lag.oldest_unconsumed_ms); });
    write("rocketmq_consumer_inflight_messages", "Consumer inflight messages",
          [](const Lag& lag) { return lag.in_flight; });
    write("rocketmq_consumer_queueing_latency_milliseconds", "Consumer queueing time",
          [&](const Lag& lag) { return age(lag.oldest_unpulled_ms); });
    write("rocketmq_consumer_ready_messages", "Consumer ready messages",
          [](const Lag& lag) { return lag.ready; });
  }

  std::string pop_retry_of(const std::string& group, const std::string& topic) const {
    return context_.settings().retry_topic_v2 ? protocol::pop_retry_topic_v2(group, topic)
                                              : protocol::pop_retry_topic_v1(group, topic);
  }

  void add_lag(Series<Lag>& series, const std::string& group, const std::string& topic,
               const std::string& read_from, bool retry) {
    const auto labels = [&](std::string_view of_group, std::string_view of_topic) {
      return Labels{{"consumer_group", std::string{of_group}},
                    {"is_retry", flag(retry)},
                    {"is_system", flag(is_system(of_topic, of_group))},
                    {"topic", std::string{of_topic}}};
    };
    Lag& sum = series.at(labels(group, topic), labels(kOther, kOther));
    const TopicPtr config = context_.topics.find(read_from);
    if (!config) return;
    const auto oldest = [](std::int64_t& least, std::int64_t time) {
      if (time > 0 && (least == 0 || time < least)) least = time;
    };
    for (std::int32_t queue = 0; queue < config->write_queue_nums; ++queue) {
      const std::int64_t end =
          std::max<std::int64_t>(context_.store.max_offset(read_from, queue), 0);
      const auto committed = context_.offsets.find(group, read_from, queue);
      const std::int64_t consumed = committed.value_or(end);
      const std::int64_t pulled = std::max(
          consumed, context_.offsets.find_pulled(group, read_from, queue).value_or(consumed));
      sum.lag += end - consumed;
      sum.in_flight += pulled - consumed;
      sum.ready += end - pulled;
      if (consumed < end)
        oldest(sum.oldest_unconsumed_ms, context_.store.store_time(read_from, queue, consumed));
      if (pulled < end)
        oldest(sum.oldest_unpulled_ms, context_.store.store_time(read_from, queue, pulled));
    }
  }

  /// Of every group that has offsets, online or not.
  void queue_lag() {
    Series<std::int64_t> series{out_.series_max()};
    context_.offsets.for_each([&](const std::string& group, const std::string& topic,
                                  const QueueOffsets& queues) {
      if (is_system(topic, group) || !context_.topics.contains(topic)) return;
      for (const auto& [queue, offset] : queues) {
        const auto labels = [](std::string_view of_group, std::string_view of_topic,
                               std::string of_queue) {
          return Labels{{"consumer_group", std::string{of_group}},
                        {"queue_id", std::move(of_queue)},
                        {"topic", std::string{of_topic}}};
        };
        series.at(labels(group, topic, std::to_string(queue)), labels(kOther, kOther, "other")) +=
            std::max<std::int64_t>(context_.store.max_offset(topic, queue) - offset, 0);
      }
    });
    write_series("apogee_consumer_queue_lag_messages", "gauge",
                 "Messages of a queue a group has not consumed, online or not", series,
                 [](std::int64_t lag) { return lag; });
  }

  // ---- Transactions ----

  void transactions() {
    Series<Transactions::OfTopic> series{out_.series_max()};
    for (const auto& [topic, counts] : sources_.transactions->topics()) {
      Transactions::OfTopic& sum = series.at({{"topic", topic}}, {{"topic", std::string{kOther}}});
      sum.open += counts.open;
      sum.commits += counts.commits;
      sum.rollbacks += counts.rollbacks;
      add(sum.commit_after, counts.commit_after);
    }
    write_series("rocketmq_half_messages", "gauge", "Half messages of all topics", series,
                 [](const auto& counts) { return counts.open; });
    write_series("rocketmq_commit_messages_total", "counter", "Total number of commit messages",
                 series, [](const auto& counts) { return counts.commits; });
    write_series("rocketmq_rollback_messages_total", "counter", "Total number of rollback messages",
                 series, [](const auto& counts) { return counts.rollbacks; });
    // In seconds, as there, whatever the name says.
    out_.family("rocketmq_finish_message_latency_milliseconds", "histogram",
                "Transaction finish latency");
    for (const auto& [labels, counts] : series.all())
      if (counts.commits > 0) classes(labels, Transactions::kLatencyBounds, counts.commit_after);
  }

  template <std::size_t kBounds>
  static void add(ClassCounts<kBounds>& sum, const ClassCounts<kBounds>& more) {
    for (std::size_t i = 0; i < sum.counts.size(); ++i) sum.counts[i] += more.counts[i];
    sum.sum += more.sum;
  }
  template <std::size_t kBounds>
  void classes(const Labels& labels, const std::array<std::int64_t, kBounds>& bounds,
               const ClassCounts<kBounds>& counts) {
    const std::vector<double> as_written{bounds.begin(), bounds.end()};
    out_.histogram(labels, as_written, counts.counts, counts.sum);
  }

  // ---- The timer ----

  static Labels storage_labels() { return {{"storage_medium", "disk"}, {"storage_type", "local"}}; }
  static Labels storage_labels(std::string_view name, std::string_view value) {
    Labels labels = storage_labels();
    labels.emplace_back(name, value);
    return labels;
  }

  void timer() {
    const TimerSnapshot now = sources_.timer->snapshot();
    const auto figure = [&](const char* name, const char* help, std::int64_t value) {
      gauge(name, help, static_cast<double>(value), storage_labels());
    };
    figure("rocketmq_timer_enqueue_lag", "Timer enqueue messages lag", now.enqueue_lag);
    figure("rocketmq_timer_enqueue_latency_milliseconds", "Timer enqueue latency",
           now.enqueue_latency_ms);
    figure("rocketmq_timer_dequeue_lag", "Timer dequeue messages lag", now.dequeue_lag);
    figure("rocketmq_timer_dequeue_latency_milliseconds", "Timer dequeue latency",
           now.dequeue_latency_ms);
    const auto by_topic = [&](const char* name, const char* type, const char* help,
                              const std::map<std::string, std::int64_t>& counts) {
      Series<std::int64_t> series{out_.series_max()};
      for (const auto& [topic, count] : counts)
        series.at(storage_labels("topic", topic), storage_labels("topic", kOther)) += count;
      write_series(name, type, help, series, [](std::int64_t count) { return count; });
    };
    by_topic("rocketmq_timing_messages", "gauge", "Current message number in timing", now.timing);
    by_topic("rocketmq_timer_enqueue_total", "counter", "Total number of timer enqueue",
             now.enqueued);
    by_topic("rocketmq_timer_dequeue_total", "counter", "Total number of timer dequeue",
             now.dequeued);
    out_.family("rocketmq_timer_message_snapshot", "gauge",
                "Timer message distribution snapshot, only count timing messages in 24h.");
    for (const auto& [bound, count] : now.by_bound)
      out_.value(storage_labels("timer_bound_s", std::to_string(bound)),
                 static_cast<double>(count));
    Series<TimerSnapshot::Delays> delays{out_.series_max()};
    for (const auto& [topic, counts] : now.delays)
      add(delays.at(storage_labels("topic", topic), storage_labels("topic", kOther)), counts);
    out_.family("rocketmq_delay_message_latency_seconds", "histogram",
                "Timer message set latency distribution");
    for (const auto& [labels, counts] : delays.all())
      classes(labels, TimerSnapshot::kDelayBounds, counts);
    lateness(now.lateness_ms);
  }

  void lateness(const Histogram& late) {
    out_.family("apogee_timer_lateness_seconds", "summary",
                "Timer messages delivered after the end of their slot");
    for (const char* quantile : {"0.5", "0.99", "0.999"})
      out_.value({{"quantile", quantile}},
                 static_cast<double>(late.quantile(std::stod(quantile))) / 1e3);
  }

  // ---- POP ----

  void pops() {
    // No offset waits in a buffer: it is committed with its pop.
    gauge("rocketmq_pop_offset_buffer_size", "Time number of buffered offset", 0);
    gauge("rocketmq_pop_checkpoint_buffer_size", "The number of buffered checkpoint",
          static_cast<double>(sources_.popping->revive.outstanding()));
    const auto lags = sources_.popping->revive.lag();
    const auto by_queue = [&](const char* name, const char* help, auto&& value_of) {
      out_.family(name, "gauge", help);
      for (const auto& [queue, lag] : lags)
        out_.value({{"queue_id", std::to_string(queue)}}, static_cast<double>(value_of(lag)));
    };
    // Messages, as there, whatever the name says.
    by_queue("rocketmq_pop_revive_lag_milliseconds", "The processing lag of revive topic",
             [](const Revive::Lag& lag) { return lag.records; });
    by_queue("rocketmq_pop_revive_latency_milliseconds", "The processing latency of revive topic",
             [](const Revive::Lag& lag) { return lag.ms; });
    using Way = ReviveCounts::Way;
    revive_counts(Way::kIn, "rocketmq_pop_revive_in_message_total",
                  "Total number of put message to revive topic");
    revive_counts(Way::kOut, "rocketmq_pop_revive_out_message_total",
                  "Total number of get message from revive topic");
    revive_counts(Way::kAgain, "rocketmq_pop_revive_retry_messages_total",
                  "Total number of put message to pop retry topic");
  }

  void revive_counts(ReviveCounts::Way way, const char* name, const char* help) {
    using Way = ReviveCounts::Way;
    Series<std::int64_t> series{out_.series_max()};
    sources_.popping->log.counts.for_each([&](const ReviveCounts::Count& each) {
      if (each.way != way) return;
      const auto labels = [&](std::string_view group, std::string_view topic) {
        Labels all{{"consumer_group", std::string{group}}};
        if (way != Way::kOut)
          all.emplace_back("put_status", name_of(static_cast<store::PutStatus>(each.detail)));
        else
          all.emplace_back("queue_id", std::to_string(each.detail));
        if (way != Way::kAgain) all.emplace_back("revive_message_type", each.what);
        all.emplace_back("topic", topic);
        return all;
      };
      series.at(labels(each.group, each.topic), labels(kOther, kOther)) += each.count;
    });
    write_series(name, "counter", help, series, [](std::int64_t count) { return count; });
  }

  // ---- The store ----

  void storage() {
    const store::StoreStatus status = context_.store.status();
    const Labels labels = storage_labels();
    const auto behind = [](std::int64_t end, std::int64_t done) {
      return static_cast<double>(std::max<std::int64_t>(end - done, 0));
    };
    if (const auto space = context_.env.files.space(context_.store.config().root))
      gauge("rocketmq_storage_size_bytes", "Broker storage size",
            static_cast<double>(space->total - space->available), labels);
    gauge("rocketmq_storage_flush_behind_bytes", "Broker flush behind bytes",
          behind(status.commit_log_max_offset, status.flushed_offset), labels);
    gauge("rocketmq_storage_dispatch_behind_bytes", "Broker dispatch behind bytes",
          behind(status.commit_log_max_offset, status.dispatched_offset), labels);
    const std::int64_t earliest = context_.store.earliest_store_time();
    if (earliest > 0)
      gauge("rocketmq_storage_message_reserve_time_milliseconds", "Broker message reserve time",
            static_cast<double>(context_.env.clock.wall_ms() - earliest), labels);
    gauge("apogee_store_writable", "1: messages are accepted", status.writable ? 1 : 0);
    gauge("apogee_disk_used_ratio", "Used part of the disk the commit log is on",
          status.commit_log_disk_ratio);
    const auto counter = [&](std::string_view name, std::string_view help, std::int64_t value) {
      out_.family(name, "counter", help);
      out_.value({}, static_cast<double>(value));
    };
    counter("apogee_log_damages_total", "Damaged places of the log found since the start",
            status.damages);
    counter("apogee_scrub_bytes_total", "Bytes of the log the background check has read",
            status.scrubbed_bytes);
    counter("apogee_scrub_rounds_total", "Times the background check has read the whole log",
            status.scrub_rounds);
  }

  // ---- How long things take ----

  static std::string response_text(std::int32_t response) {
    namespace code = protocol::response_code;
    static const std::map<std::int32_t, std::string_view> names{
        {code::kSuccess, "success"},
        {code::kSystemError, "system_error"},
        {code::kSystemBusy, "system_busy"},
        {code::kRequestCodeNotSupported, "request_code_not_supported"},
        {10, "flush_disk_timeout"},
        {11, "slave_not_available"},
        {12, "flush_slave_timeout"},
        {13, "message_illegal"},
        {14, "service_not_available"},
        {16, "no_permission"},
        {17, "topic_not_exist"},
        {19, "pull_not_found"},
        {20, "pull_retry_immediately"},
        {21, "pull_offset_moved"},
        {22, "query_not_found"},
        {23, "subscription_parse_failed"},
        {24, "subscription_not_exist"},
        {25, "subscription_not_latest"},
        {26, "subscription_group_not_exist"},
        {206, "consumer_not_online"},
        {207, "consume_msg_timeout"},
        {208, "no_message"},
        {209, "polling_full"},
        {210, "polling_timeout"}};
    const auto found = names.find(response);
    return found == names.end() ? std::to_string(response) : std::string{found->second};
  }

  void requests() {
    out_.family("rocketmq_rpc_latency_milliseconds", "histogram", "Rpc latency");
    const std::vector<double> bounds{RequestTimes::kBoundsMs.begin(),
                                     RequestTimes::kBoundsMs.end()};
    context_.stats.requests.for_each([&](const RequestTimes::Kind& kind,
                                         const RequestTimes::Times& times) {
      const bool rest = kind.request == -1;
      const std::string_view request = protocol::request_name(kind.request);
      std::array<std::uint64_t, RequestTimes::kBoundsMs.size() + 1> counts{};
      for (std::size_t i = 0; i < counts.size(); ++i)
        counts[i] = times.counts[i].load(std::memory_order_relaxed);
      out_.histogram({{"is_long_polling", flag(kind.long_polling)},
                      {"protocol_type", "remoting"},
                      {"request_code", request.empty() ? std::string{kOther} : lower(request)},
                      {"response_code", rest ? std::string{kOther} : response_text(kind.response)},
                      {"result", kind.oneway ? "oneway" : "success"}},
                     bounds, counts,
                     static_cast<double>(times.sum_ms.load(std::memory_order_relaxed)));
    });
  }

  void stages() {
    out_.family("apogee_stage_duration_seconds", "histogram",
                "Time of each stage of a request's way, of one batch or one operation");
    std::vector<double> bounds;
    for (std::size_t i = 0; i + 1 < LatencyHistogram::kBuckets; ++i)
      bounds.push_back(static_cast<double>(LatencyHistogram::bound_ns(i)) / 1e9);
    for (std::size_t stage = 0; stage < kStageNames.size(); ++stage) {
      const LatencyHistogram::Total total = context_.stats.stages.of(stage).total();
      out_.histogram({{"stage", std::string{kStageNames[stage]}}}, bounds, total.counts,
                     static_cast<double>(total.sum_ns) / 1e9);
    }
  }

  Context& context_;
  const MetricsSources& sources_;
  Exposition& out_;
  std::map<std::string, std::size_t> folded_;
};

}  // namespace

Buffer metrics_page(Context& context, const MetricsSources& sources) {
  const BrokerConfig& config = context.settings();
  Labels common{
      {"cluster", config.cluster_name}, {"node_id", config.broker_name}, {"node_type", "broker"}};
  if (auto more = parse_labels(config.metrics_labels))
    std::ranges::move(*more, std::back_inserter(common));
  Exposition out{std::move(common), static_cast<std::size_t>(config.metrics_series_max)};
  Page{context, sources, out}.write();
  return out.take();
}

}  // namespace apogee::broker
