#include "broker/topic_admin.h"

#include "broker/attributes.h"
#include "protocol/headers.h"
#include "protocol/names.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
namespace request = protocol::request_code;
using protocol::TopicConfig;
using remoting::Answer;
using remoting::OwnedCommand;
using remoting::PeerPtr;

constexpr std::int32_t kQueuesMax = 65'536;  // of one topic

std::optional<Answer> check_name(const Context& context, const std::string& topic) {
  if (auto legal = protocol::check_topic(topic); !legal)
    return Answer::error(code::kInvalidParameter, legal.error().detail);
  if (context.settings().validate_system_topic && context.topics.is_system(topic)) {
    return Answer::error(code::kInvalidParameter,
                         "The topic[" + topic + "] is conflict with system topic.");
  }
  return std::nullopt;
}

/// Checks a topic as it is asked for and completes it with its attributes. nullopt: it is fine.
std::optional<Answer> check_topic(const Context& context, TopicConfig& config,
                                  const Attributes& changes) {
  if (auto bad = check_name(context, config.topic_name)) return bad;
  if (config.read_queue_nums < 0 || config.write_queue_nums < 0 ||
      config.read_queue_nums > kQueuesMax || config.write_queue_nums > kQueuesMax)
    return Answer::error(code::kInvalidParameter,
                         fmt::format("queue numbers of topic {} are out of range: 0..{}",
                                     config.topic_name, kQueuesMax));
  const TopicPtr present = context.topics.find(config.topic_name);
  auto attributes =
      alter_attributes(topic_attributes(), present ? &present->attributes : nullptr, changes);
  if (!attributes) return Answer::error(code::kSystemError, attributes.error().detail);
  config.attributes = *std::move(attributes);
  const auto type = config.attributes.find("message.type");
  if (type != config.attributes.end() && type->second == "MIXED" &&
      !context.settings().mixed_message_type)
    return Answer::error(code::kInvalidParameter, "MIXED message type is not supported.");
  return std::nullopt;
}

Answer persisted(const Context& context, const Result<Ok>& done) {
  if (done) return {};
  context.env.log.error("a change is in force but not on disk: {}", done.error().detail);
  return Answer::error(code::kSystemError, "in force, but not written: " + done.error().detail);
}

/// One after the other, up to the first that cannot be deleted. Nothing more is sent to them from
/// the beginning; those that are left after an error are there as before.
///
/// Their groups' offsets leave the disk first: in a topic made again under the name they would lead
/// past its first messages. What is cut off in between, and nobody was told of, leaves messages of
/// a topic that is not known any more: they go when it is deleted again, or with
/// CLEAN_UNUSED_TOPIC, as with Apache's broker.
Result<Ok> delete_topics(Context& context, const std::vector<std::string>& names) {
  if (names.empty()) return Ok{};
  struct Before {
    TopicPtr topic;
    std::map<std::string, QueueOffsets> offsets;
  };
  std::vector<Before> before;
  for (const std::string& name : names) {
    TopicPtr topic = context.topics.find(name);
    context.topics.remove(name);
    before.push_back({std::move(topic), context.offsets.remove_topic(name)});
  }
  Result<Ok> done = context.offsets.persist();
  std::size_t gone = 0;
  for (; done && gone < names.size(); ++gone) {
    done = context.store.delete_topic(names[gone]);
    if (!done) break;
    context.offsets.remove_topic(names[gone]);  // what was committed meanwhile
    context.stats.remove_topic(names[gone]);
  }
  if (done) return done;
  for (std::size_t left = gone; left < names.size(); ++left) {
    if (before[left].topic) context.topics.update({*before[left].topic});
    context.offsets.put_back(names[left], before[left].offsets);
  }
  context.env.log.error("a topic was not deleted: topic={} reason={}", names[gone],
                        done.error().detail);
  if (auto written = context.offsets.persist(); !written)
    context.env.log.error("consumerOffset.json was not written: {}", written.error().detail);
  return done;
}

Answer delete_topic(Context& context, const std::string& topic) {
  if (topic.find_first_not_of(' ') == std::string::npos)
    return Answer::error(code::kInvalidParameter, "The specified topic is blank.");
  if (context.settings().validate_system_topic && context.topics.is_system(topic))
    return Answer::error(code::kInvalidParameter,
                         "The topic[" + topic + "] is conflict with system topic.");
  // The pop retry topics that its groups have for it. They go first: whoever asks again after an
  // error finds those that are left.
  std::vector<std::string> retries;
  for (const std::string& group : context.offsets.groups_of(topic)) {
    for (const std::string& retry :
         {protocol::retry_topic(group) + "_" + topic, protocol::retry_topic(group) + "+" + topic}) {
      if (context.topics.contains(retry)) retries.push_back(retry);
    }
  }
  for (const auto& names : {retries, std::vector<std::string>{topic}})
    if (auto deleted = delete_topics(context, names); !deleted)
      return Answer::error(code::kSystemError, "not deleted: " + deleted.error().detail);
  context.env.log.info("topic deleted: topic={}", topic);
  return persisted(context, context.topics.persist());
}

/// One request's topics: all of them or none, one write of the file, one word to name servers.
Answer update_topics(Context& context, std::vector<TopicConfig> topics) {
  std::erase_if(topics, [&](const TopicConfig& each) {
    const TopicPtr present = context.topics.find(each.topic_name);
    return present && *present == each;
  });
  if (!topics.empty()) context.topics.update(std::move(topics));
  return persisted(context, context.topics.persist());
}

Answer update_topic(Context& context, const protocol::CreateTopicRequest& header,
                    const PeerPtr& peer) {
  TopicConfig config;
  config.topic_name = header.topic;
  config.read_queue_nums = header.read_queue_nums;
  config.write_queue_nums = header.write_queue_nums;
  config.perm = header.perm;
  config.topic_filter_type = header.topic_filter_type.value_or("SINGLE_TAG");
  config.topic_sys_flag = header.topic_sys_flag.value_or(0);
  config.order = header.order.value_or(false);
  context.env.log.info("topic update asked for: topic={} by={}", header.topic, peer->remote_text());
  const auto changes = parse_attribute_changes(header.attributes.value_or(""));
  if (!changes) return Answer::error(code::kSystemError, changes.error().detail);
  if (auto refused = check_topic(context, config, *changes)) return *refused;
  return update_topics(context, {std::move(config)});
}

Answer update_topic_list(Context& context, const OwnedCommand& command, const PeerPtr& peer) {
  auto list = protocol::decode_body<protocol::TopicConfigList>(as_bytes(command.body));
  if (!list) return Answer::error(code::kSystemError, list.error().detail);
  context.env.log.info("topic update asked for: topics={} by={}", list->topic_config_list.size(),
                       peer->remote_text());
  for (TopicConfig& config : list->topic_config_list) {
    const Attributes changes = std::exchange(config.attributes, {});
    if (auto refused = check_topic(context, config, changes)) return *refused;
  }
  return update_topics(context, std::move(list->topic_config_list));
}

void add_topics(remoting::Processors& processors, Context& context) {
  processors.on_worker<protocol::CreateTopicRequest>(
      [&context](const protocol::CreateTopicRequest& header, const OwnedCommand&,
                 const PeerPtr& peer) { return update_topic(context, header, peer); });
  processors.on_worker_code<protocol::NoFields>(
      request::kUpdateAndCreateTopicList,
      [&context](const protocol::NoFields&, const OwnedCommand& command, const PeerPtr& peer) {
        return update_topic_list(context, command, peer);
      });
  processors.on_worker_code<protocol::TopicRequest>(
      request::kDeleteTopicInBroker,
      [&context](const protocol::TopicRequest& header, const OwnedCommand&, const PeerPtr&) {
        return delete_topic(context, header.topic);
      });
  processors.on_worker<protocol::AllTopicConfigRequest>(
      [&context](const protocol::AllTopicConfigRequest& header, const OwnedCommand&,
                 const PeerPtr&) {
        protocol::TopicConfigTable table = context.topics.table();
        table.mapping_data_version = protocol::DataVersion{};
        table.topic_queue_mapping_detail_map = protocol::Json::object();
        const auto total = static_cast<std::int32_t>(table.topic_config_table.size());
        if (header.topic_seq || header.max_topic_num) {  // one page of them, in order of name
          const auto first = std::clamp<std::int32_t>(header.topic_seq.value_or(0), 0, total);
          const std::int32_t count =
              std::clamp<std::int32_t>(header.max_topic_num.value_or(2'000), 1, 2'000);
          auto begin = std::next(table.topic_config_table.begin(), first);
          table.topic_config_table.erase(table.topic_config_table.begin(), begin);
          if (static_cast<std::int32_t>(table.topic_config_table.size()) > count)
            table.topic_config_table.erase(std::next(table.topic_config_table.begin(), count),
                                           table.topic_config_table.end());
        }
        return Answer::with(protocol::AllTopicConfigResponse{total}, protocol::encode_body(table));
      });
  processors.on_code<protocol::TopicRequest>(
      request::kGetTopicConfig,
      [&context](const protocol::TopicRequest& header, const remoting::Request&) -> Answer {
        const TopicPtr topic = context.topics.find(header.topic);
        if (!topic)
          return Answer::error(code::kTopicNotExist,
                               "No topic in this broker. topic: " + header.topic);
        return Answer::with_body(protocol::encode_body(*topic));
      });
}

/// One request's groups: all of them or none, one write of the file.
Answer update_groups(Context& context, std::vector<protocol::SubscriptionGroupConfig> groups,
                     const PeerPtr& peer) {
  for (auto& each : groups) {
    if (auto legal = protocol::check_group(each.group_name); !legal)
      return Answer::error(code::kInvalidParameter, legal.error().detail);
    const GroupPtr present = context.groups.find(each.group_name);
    auto attributes = alter_attributes(group_attributes(), present ? &present->attributes : nullptr,
                                       each.attributes);
    if (!attributes) return Answer::error(code::kSystemError, attributes.error().detail);
    each.attributes = *std::move(attributes);
  }
  for (auto& each : groups) {
    context.env.log.info("consumer group updated: group={} by={}", each.group_name,
                         peer->remote_text());
    context.groups.update(std::move(each));
  }
  return persisted(context, context.groups.persist());
}

void add_groups(remoting::Processors& processors, Context& context) {
  processors.on_worker_code<protocol::NoFields>(
      request::kUpdateAndCreateSubscriptionGroup,
      [&context](const protocol::NoFields&, const OwnedCommand& command,
                 const PeerPtr& peer) -> Answer {
        auto group =
            protocol::decode_body<protocol::SubscriptionGroupConfig>(as_bytes(command.body));
        if (!group) return Answer::error(code::kSystemError, group.error().detail);
        return update_groups(context, {*std::move(group)}, peer);
      });
  processors.on_worker_code<protocol::NoFields>(
      request::kUpdateAndCreateSubscriptionGroupList,
      [&context](const protocol::NoFields&, const OwnedCommand& command,
                 const PeerPtr& peer) -> Answer {
        auto list = protocol::decode_body<protocol::SubscriptionGroupList>(as_bytes(command.body));
        if (!list) return Answer::error(code::kSystemError, list.error().detail);
        return update_groups(context, std::move(list->group_config_list), peer);
      });
  processors.on_worker<protocol::AllGroupConfigRequest>(
      [&context](const protocol::AllGroupConfigRequest& header, const OwnedCommand&,
                 const PeerPtr&) {
        protocol::SubscriptionGroupTable table = context.groups.table();
        auto& groups = table.subscription_group_table;
        const auto total = static_cast<std::int32_t>(groups.size());
        if (header.group_seq || header.max_group_num) {
          const auto first = std::clamp<std::int32_t>(header.group_seq.value_or(0), 0, total);
          const std::int32_t count =
              std::clamp<std::int32_t>(header.max_group_num.value_or(2'000), 1, 2'000);
          groups.erase(groups.begin(), std::next(groups.begin(), first));
          if (static_cast<std::int32_t>(groups.size()) > count)
            groups.erase(std::next(groups.begin(), count), groups.end());
        }
        return Answer::with(protocol::AllGroupConfigResponse{total}, protocol::encode_body(table));
      });
  processors.on_code<protocol::GroupRequest>(
      request::kGetSubscriptionGroupConfig,
      [&context](const protocol::GroupRequest& header, const remoting::Request&) -> Answer {
        const GroupPtr group = context.groups.find_or_create(header.group);
        if (!group)
          return Answer::error(code::kSubscriptionGroupNotExist,
                               "No group in this broker. group: " + header.group);
        return Answer::with_body(protocol::encode_body(*group));
      });
  processors.on_worker<protocol::DeleteGroupRequest>(
      [&context](const protocol::DeleteGroupRequest& header, const OwnedCommand&,
                 const PeerPtr& peer) {
        context.groups.remove(header.group_name);
        Result<Ok> written = Ok{};
        if (header.clean_offset.value_or(false)) {
          // On disk before the group has gone: one made again under the name begins anew.
          context.offsets.remove_group(header.group_name);
          written = context.offsets.persist();
        }
        context.stats.remove_group(header.group_name);
        context.env.log.info("consumer group deleted: group={} by={}", header.group_name,
                             peer->remote_text());
        return persisted(context, written ? context.groups.persist() : written);
      });
  processors.on_worker<protocol::GroupForbiddenRequest>(
      [&context](const protocol::GroupForbiddenRequest& header, const OwnedCommand&,
                 const PeerPtr&) {
        if (header.readable) {
          context.groups.set_forbidden(header.group, header.topic,
                                       SubscriptionGroups::kForbiddenRead, !*header.readable);
          if (auto written = context.groups.persist(); !written)
            context.env.log.error("subscriptionGroup.json was not written: {}",
                                  written.error().detail);
        }
        return Answer::with_body(protocol::encode_body(protocol::GroupForbidden{
            .group = header.group,
            .readable = !context.groups.forbidden(header.group, header.topic,
                                                  SubscriptionGroups::kForbiddenRead),
            .topic = header.topic}));
      });
}

}  // namespace

void add_topic_admin(remoting::Processors& processors, Context& context, AdminHooks hooks) {
  add_topics(processors, context);
  add_groups(processors, context);
  processors.on_worker_code<protocol::NoFields>(
      request::kGetBrokerConfig,
      [hooks](const protocol::NoFields&, const OwnedCommand&, const PeerPtr&) {
        return Answer::with(
            protocol::BrokerConfigResponse{protocol::encode_body(hooks.configuration_version())},
            hooks.configuration_text());
      });
  processors.on_worker_code<protocol::NoFields>(
      request::kUpdateBrokerConfig,
      [&context, update = hooks.update_configuration](
          const protocol::NoFields&, const OwnedCommand& command, const PeerPtr& peer) -> Answer {
        context.env.log.info("configuration update asked for: by={}", peer->remote_text());
        auto updated = update(command.body);
        if (updated) return {};
        return Answer::error(
            updated.error().code == Errc::kUnsupported ? code::kNoPermission : code::kSystemError,
            updated.error().detail);
      });
}

}  // namespace apogee::broker
