#include "broker/statistics.h"

#include "protocol/codes.h"
#include "protocol/headers.h"
#include "protocol/names.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
namespace request_code = protocol::request_code;
using remoting::Answer;
using remoting::OwnedCommand;
using remoting::PeerPtr;

/// Double.toString.
std::string java_text(double value) {
  return protocol::write_json(protocol::Json{protocol::Json::Value{value}});
}

/// MixAll.humanReadableByteCount with powers of 1024.
std::string readable_bytes(std::uint64_t bytes) {
  if (bytes < 1'024) return fmt::format("{} B", bytes);
  constexpr std::string_view kUnits = "KMGTPE";
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (value /= 1'024; value >= 1'024 && unit + 1 < kUnits.size(); value /= 1'024) ++unit;
  return fmt::format("{:.1f} {}iB", value, kUnits[unit]);
}

// ---- Runtime info ------------------------------------------------------------------------------

std::string runtime_text(std::int64_t ms) {
  const std::int64_t seconds = ms / 1'000;
  return fmt::format("[ {} days, {} hours, {} minutes, {} seconds ]", seconds / 86'400,
                     seconds / 3'600 % 24, seconds / 60 % 60, seconds % 60);
}

using Table = std::map<std::string, std::string>;

void add_traffic(Context& context, Table& table) {
  const Stats& stats = context.stats;
  const TrafficTotals totals = stats.totals();
  // Java never says 0 here: it divides by it.
  const std::int64_t times = std::max<std::int64_t>(totals.put_times, 1);
  const auto set = [&](const char* key, auto value) { table[key] = std::to_string(value); };
  set("bootTimestamp", stats.started_ms());
  table["runtime"] = runtime_text(context.env.clock.wall_ms() - stats.started_ms());
  set("putMessageTimesTotal", times);
  set("putMessageFailedTimes", totals.put_failed);
  set("putMessageSizeTotal", totals.put_bytes);
  table["putMessageAverageSize"] =
      java_text(static_cast<double>(totals.put_bytes) / static_cast<double>(times));
  set("putMessageEntireTimeMax", stats.put_latency_max());
  set("getMessageEntireTimeMax", stats.get_latency_max());
  table["putMessageDistributeTime"] = stats.put_distribution();
  table["putLatency99"] = fmt::format("{:.2f}", stats.put_latency(0.99));
  table["putLatency999"] = fmt::format("{:.2f}", stats.put_latency(0.999));
  table["putTps"] = stats.rates(Stats::Rate::kPut);
  table["getFoundTps"] = stats.rates(Stats::Rate::kGetFound);
  table["getMissTps"] = stats.rates(Stats::Rate::kGetMiss);
  table["getTotalTps"] = stats.rates(Stats::Rate::kGetTotal);
  table["getTransferredTps"] = stats.rates(Stats::Rate::kGetTransferred);
  const Stats::Days days = stats.days();
  set("msgPutTotalYesterdayMorning", days.put_yesterday_morning);
  set("msgPutTotalTodayMorning", days.put_today_morning);
  set("msgPutTotalTodayNow", days.put_now);
  set("msgGetTotalYesterdayMorning", days.get_yesterday_morning);
  set("msgGetTotalTodayMorning", days.get_today_morning);
  set("msgGetTotalTodayNow", days.get_now);
}

void add_store(Context& context, Table& table) {
  const store::StoreStatus status = context.store.status();
  const store::StoreConfig& config = context.store.config();
  const auto set = [&](const char* key, auto value) { table[key] = std::to_string(value); };
  set("commitLogMinOffset", status.commit_log_min_offset);
  set("commitLogMaxOffset", status.commit_log_max_offset);
  set("dispatchBehindBytes", status.commit_log_max_offset - status.dispatched_offset);
  set("dispatchMaxBuffer", 0);
  set("pageCacheLockTimeMills", status.append_lock_held_ms);
  set("earliestMessageTimeStamp", context.store.earliest_store_time());
  set("startAcceptSendRequestTimeStamp", context.settings().start_accept_send_ms);
  table["remainHowManyDataToFlush"] = readable_bytes(static_cast<std::uint64_t>(
      std::max<std::int64_t>(status.commit_log_max_offset - status.flushed_offset, 0)));
  set("remainTransientStoreBufferNumbs", std::int64_t{2'147'483'647});  // no such pool: unbounded
  const std::string ratio = java_text(status.commit_log_disk_ratio);
  const std::string path =
      config.commit_log_path.empty() ? config.root + "/commitlog" : config.commit_log_path;
  table["commitLogDiskRatio"] = ratio;
  table["commitLogDiskRatio_" + path] = ratio;
  table["consumeQueueDiskRatio"] = java_text(status.consume_queue_disk_ratio);
  if (const auto space = context.env.files.space(config.root))
    table["commitLogDirCapacity"] = fmt::format(
        "Total : {}, Free : {}.", readable_bytes(space->total), readable_bytes(space->available));
}

/// Java's thread pools and timers, which tools expect to see; ours hold nothing back but what has
/// to wait for the disk.
void add_expected(const Context& context, Table& table) {
  for (const char* pool : {"send", "pull", "litePull", "query", "ack"}) {
    const std::string prefix = std::string{pool} + "ThreadPoolQueue";
    table[prefix + "Size"] = "0";
    table[prefix + "HeadWaitTimeMills"] = "0";
    table[prefix + "Capacity"] = "0";
  }
  table["pullThreadPoolQueueSize"] = std::to_string(context.readers.waiting());
  table["EndTransactionQueueSize"] = "0";
  table["EndTransactionThreadPoolQueueCapacity"] = "0";
  for (const char* key : {"timerReadBehind", "timerOffsetBehind", "timerCongestNum"})
    table[key] = "0";
  table["timerEnqueueTps"] = table["timerDequeueTps"] = "0.0";
}

Answer runtime_info(Context& context, const MoreRuntimeInfo& more) {
  protocol::KvTable body;
  body.table["brokerActive"] = "true";
  body.table["brokerVersionDesc"] = "V5_5_0";  // of protocol::kProtocolVersion
  add_traffic(context, body.table);
  add_store(context, body.table);
  add_expected(context, body.table);
  if (more) more(body.table);
  return Answer::with_body(encode_body(body));
}

// ---- Topics ------------------------------------------------------------------------------------

Answer unknown_topic(const std::string& topic) {
  return Answer::error(code::kTopicNotExist, "topic[" + topic + "] not exist");
}

Answer topic_stats(Context& context, const protocol::TopicRequest& header) {
  const TopicPtr topic = context.topics.find(header.topic);
  if (!topic) return unknown_topic(header.topic);
  protocol::TopicStatsTable body;
  body.topic_put_tps = context.stats.topic_put_per_second(header.topic);
  const std::int32_t queues = std::max(topic->write_queue_nums, topic->read_queue_nums);
  for (std::int32_t queue = 0; queue < queues; ++queue) {
    protocol::TopicOffset& offset =
        body.offset_table[{context.settings().broker_name, queue, header.topic}];
    offset.min_offset = std::max<std::int64_t>(context.store.min_offset(header.topic, queue), 0);
    offset.max_offset = std::max<std::int64_t>(context.store.max_offset(header.topic, queue), 0);
    if (offset.max_offset > 0)
      offset.last_update_timestamp =
          context.store.store_time(header.topic, queue, offset.max_offset - 1);
  }
  return Answer::with_body(encode_body(body));
}

Answer system_topics(Context& context) {
  return Answer::with_body(encode_body(
      protocol::TopicList{.broker_address = {}, .topic_list = context.topics.system_topics()}));
}

// ---- Progress of groups ------------------------------------------------------------------------

/// Adds a topic's queues to the progress of a group.
void add_progress(Context& context, const std::string& group, const TopicPtr& topic,
                  std::int32_t queues, protocol::ConsumeStats& stats) {
  const std::string& name = topic->topic_name;
  for (std::int32_t queue = 0; queue < queues; ++queue) {
    protocol::OffsetWrapper& offset =
        stats.offset_table[{context.settings().broker_name, queue, name}];
    offset.broker_offset = std::max<std::int64_t>(context.store.max_offset(name, queue), 0);
    offset.consumer_offset = context.offsets.find(group, name, queue).value_or(0);
    offset.pull_offset = std::max(offset.consumer_offset,
                                  context.offsets.find_pulled(group, name, queue).value_or(0));
    if (offset.consumer_offset > 0)
      offset.last_timestamp = std::max<std::int64_t>(
          context.store.store_time(name, queue, offset.consumer_offset - 1), 0);
  }
  stats.consume_tps += context.stats.group_get_per_second(name, group);
}

/// Is the topic part of what the group consumes? A group that is not online consumes everything it
/// has offsets of.
bool consumes(Context& context, const std::string& group, const std::string& topic) {
  return context.consumers.subscription_count(group) == 0 ||
         context.consumers.subscription(group, topic) != nullptr;
}

std::set<std::string> topics_to_show(Context& context,
                                     const protocol::ConsumeStatsRequest& header) {
  std::set<std::string> topics;
  if (header.topic_list && !header.topic_list->empty()) {
    std::string_view list = *header.topic_list;
    while (!list.empty()) {
      const std::size_t end = list.find(';');
      if (const auto each = list.substr(0, end); !each.empty()) topics.emplace(each);
      list = end == std::string_view::npos ? std::string_view{} : list.substr(end + 1);
    }
    return topics;
  }
  if (header.topic && !header.topic->empty())
    topics.insert(*header.topic);
  else
    topics = context.offsets.topics_of(header.consumer_group);
  std::erase_if(topics, [&](const std::string& topic) {
    return !consumes(context, header.consumer_group, topic);
  });
  return topics;
}

Answer consume_stats(Context& context, const protocol::ConsumeStatsRequest& header) {
  protocol::ConsumeStats body;
  for (const std::string& name : topics_to_show(context, header))
    if (const TopicPtr topic = context.topics.find(name))
      add_progress(context, header.consumer_group, topic, topic->read_queue_nums, body);
  return Answer::with_body(encode_body(body));
}

Answer all_consume_stats(Context& context, const protocol::BrokerConsumeStatsRequest& header) {
  protocol::ConsumeStatsList body;
  body.broker_address = context.address;
  for (const GroupPtr& group : context.groups.all()) {
    std::vector<protocol::ConsumeStats> of_group;
    for (const std::string& name : context.offsets.topics_of(group->group_name)) {
      const TopicPtr topic = context.topics.find(name);
      if (!topic || (header.is_order && !topic->order) ||
          !consumes(context, group->group_name, name))
        continue;
      protocol::ConsumeStats stats;
      add_progress(context, group->group_name, topic, topic->write_queue_nums, stats);
      for (const auto& [queue, offset] : stats.offset_table) {
        body.total_diff += offset.broker_offset - offset.consumer_offset;
        body.total_inflight_diff += offset.pull_offset - offset.consumer_offset;
      }
      of_group.push_back(std::move(stats));
    }
    body.consume_stats_list.push_back({{group->group_name, std::move(of_group)}});
  }
  return Answer::with_body(encode_body(body));
}

Answer consume_time_span(Context& context, const protocol::GroupTopicRequest& header) {
  const std::string name = header.topic.value_or("");
  const TopicPtr topic = context.topics.find(name);
  if (!topic) return unknown_topic(name);
  protocol::ConsumeTimeSpanBody body;
  for (std::int32_t queue = 0; queue < topic->write_queue_nums; ++queue) {
    protocol::QueueTimeSpan span;
    span.message_queue = {context.settings().broker_name, queue, name};
    span.min_timestamp = context.store.earliest_store_time(name, queue);
    const std::int64_t end = context.store.max_offset(name, queue);
    span.max_timestamp = context.store.store_time(name, queue, end - 1);
    const std::int64_t consumed = context.offsets.find(header.group, name, queue).value_or(-1);
    span.consume_timestamp =
        consumed > 0 ? context.store.store_time(name, queue, consumed - 1) : span.min_timestamp;
    if (consumed < end)
      span.delay_time = context.env.clock.wall_ms() -
                        context.store.store_time(name, queue, std::max<std::int64_t>(consumed, 0));
    body.consume_time_span_set.push_back(std::move(span));
  }
  return Answer::with_body(encode_body(body));
}

// ---- Who consumes what -------------------------------------------------------------------------

Answer groups_of_topic(Context& context, const protocol::TopicRequest& header) {
  protocol::GroupList body{context.consumers.groups_of(header.topic)};
  body.group_list.merge(context.offsets.groups_of(header.topic));
  return Answer::with_body(encode_body(body));
}

Answer topics_of_group(Context& context, const protocol::GroupRequest& header) {
  return Answer::with_body(encode_body(protocol::TopicList{
      .broker_address = context.address, .topic_list = context.offsets.topics_of(header.group)}));
}

Answer subscription_of_group(Context& context, const protocol::GroupTopicRequest& header) {
  protocol::QuerySubscriptionBody body{
      .group = header.group, .subscription_data = {}, .topic = header.topic};
  if (const auto subscription =
          context.consumers.subscription(header.group, header.topic.value_or("")))
    body.subscription_data = subscription->data;
  return Answer::with_body(encode_body(body));
}

Answer view_stats(Context& context, const protocol::ViewStatsRequest& header) {
  const auto data = context.stats.view(header.stats_name, header.stats_key);
  if (!data)
    return Answer::error(code::kSystemError, fmt::format("The stats <{}> <{}> not exist",
                                                         header.stats_name, header.stats_key));
  return Answer::with_body(encode_body(*data));
}

// ---- Cleaning ----------------------------------------------------------------------------------

/// Queues of topics nobody has configured any more. Those of LMQ have no topic of their own
/// (DefaultMessageStore.cleanUnusedTopic).
Answer clean_unused_topics(Context& context) {
  std::set<std::string> unused;
  for (const store::QueueInfo& each : context.store.queues())
    if (!context.topics.contains(each.topic) && !context.topics.is_system(each.topic) &&
        !each.topic.starts_with(protocol::kLmqPrefix))
      unused.insert(each.topic);
  // As when a topic is deleted: no offset outlives the queue it was committed in.
  for (const std::string& topic : unused) context.offsets.remove_topic(topic);
  if (auto written = context.offsets.persist(); !written)
    return Answer::error(code::kSystemError, "not deleted: " + written.error().detail);
  for (const std::string& topic : unused) {
    if (auto deleted = context.store.delete_topic(topic); !deleted)
      return Answer::error(code::kSystemError, "not deleted: " + deleted.error().detail);
    context.env.log.info("queues of an unknown topic removed: topic={}", topic);
  }
  return {};
}

Answer ha_status(Context& context) {
  protocol::HaRuntimeInfo body;
  body.master = context.store.config().broker_role != store::BrokerRole::kSlave;
  body.master_commit_log_max_offset = context.store.status().commit_log_max_offset;
  return Answer::with_body(encode_body(body));
}

/// Who has the smallest id matters to slaves alone, which this broker never is.
Answer min_broker_id(Context& context, const protocol::NotifyMinBrokerIdChangeRequest& header) {
  context.env.log.info("smallest broker id of the group changed: id={} address={}",
                       header.min_broker_id.value_or(-1), header.min_broker_address.value_or(""));
  return {};
}

}  // namespace

void add_statistics(remoting::Processors& processors, Context& context, MoreRuntimeInfo more) {
  using protocol::NoFields;
  const auto plain = [&](std::int32_t request, auto answer) {
    processors.on_worker_code<NoFields>(request, [answer](const NoFields&, const OwnedCommand&,
                                                          const PeerPtr&) { return answer(); });
  };
  const auto with = [&]<class Header>(std::int32_t request,
                                      Answer (*answer)(Context&, const Header&)) {
    processors.on_worker_code<Header>(
        request, [&context, answer](const Header& header, const OwnedCommand&, const PeerPtr&) {
          return answer(context, header);
        });
  };
  plain(request_code::kGetBrokerRuntimeInfo,
        [&context, more = std::move(more)] { return runtime_info(context, more); });
  plain(request_code::kGetSystemTopicListFromBroker, [&context] { return system_topics(context); });
  plain(request_code::kCleanExpiredConsumeQueue, [&context] {
    context.store.clean_expired_queues();
    return Answer{};
  });
  plain(request_code::kDeleteExpiredCommitLog, [&context] {
    context.store.delete_expired_segments();
    return Answer{};
  });
  plain(request_code::kCleanUnusedTopic, [&context] { return clean_unused_topics(context); });
  plain(request_code::kGetBrokerHaStatus, [&context] { return ha_status(context); });
  // A master has nobody's flush offset to reset: Apache's answers the same.
  plain(request_code::kResetMasterFlushOffset, [] { return Answer{}; });
  // Nothing is kept in RocksDB that could be moved out of it.
  plain(request_code::kPopRollback, [] { return Answer{}; });
  with(request_code::kNotifyMinBrokerIdChange, min_broker_id);
  with(request_code::kGetTopicStatsInfo, topic_stats);
  with(request_code::kGetConsumeStats, consume_stats);
  with(request_code::kGetBrokerConsumeStats, all_consume_stats);
  with(request_code::kQueryConsumeTimeSpan, consume_time_span);
  with(request_code::kQueryTopicConsumeByWho, groups_of_topic);
  with(request_code::kQueryTopicsByConsumer, topics_of_group);
  with(request_code::kQuerySubscriptionByConsumer, subscription_of_group);
  with(request_code::kViewBrokerStatsData, view_stats);
}

}  // namespace apogee::broker
