#include "broker/topic_admin.h"

#include <array>

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

struct Attribute {
  std::string_view name;
  bool changeable;
  std::vector<std::string_view> values;  // empty: a whole number from -1
};

const std::vector<Attribute>& known_attributes() {
  static const std::vector<Attribute> known{
      {"queue.type", false, {"SimpleCQ"}},
      {"cleanup.policy", false, {"DELETE"}},
      {"message.type", true, {"UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED"}},
      {"reserve.time", true, {}}};
  return known;
}

using Attributes = std::map<std::string, std::string>;

/// "+key=value,-key": signed key to value.
Result<Attributes> parse_changes(std::string_view text) {
  Attributes changes;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view piece = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (piece.empty()) continue;
    const std::size_t equals = piece.find('=');
    if (equals == std::string_view::npos && piece.front() != '-')
      return Error{Errc::kInvalidArgument,
                   "add/alter attribute format is wrong: " + std::string{piece}};
    changes[std::string{piece.substr(0, equals)}] =
        equals == std::string_view::npos ? "" : std::string{piece.substr(equals + 1)};
  }
  return changes;
}

/// AttributeUtil.alterCurrentAttributes.
Result<Attributes> alter(const TopicPtr& present, const Attributes& changes) {
  Attributes now = present ? present->attributes : Attributes{};
  for (const auto& [signed_key, value] : changes) {
    if (signed_key.size() < 2 || (signed_key.front() != '+' && signed_key.front() != '-'))
      return Error{Errc::kInvalidArgument, "attribute key must begin with + or -: " + signed_key};
    const std::string key = signed_key.substr(1);
    const auto known = std::find_if(known_attributes().begin(), known_attributes().end(),
                                    [&](const Attribute& each) { return each.name == key; });
    if (known == known_attributes().end())
      return Error{Errc::kInvalidArgument, "unsupported key: " + key};
    if (!present && signed_key.front() == '-')
      return Error{Errc::kInvalidArgument,
                   "only add attribute is supported while creating topic. key: " + key};
    if (present && !known->changeable)
      return Error{Errc::kInvalidArgument,
                   "attempt to update an unchangeable attribute. key: " + key};
    if (signed_key.front() == '-') {
      if (now.erase(key) == 0)
        return Error{Errc::kInvalidArgument, "attempt to delete a nonexistent key: " + key};
      continue;
    }
    std::int64_t number = 0;
    const bool good = known->values.empty() ? protocol::from_text(value, number) && number >= -1
                                            : std::find(known->values.begin(), known->values.end(),
                                                        value) != known->values.end();
    if (!good)
      return Error{Errc::kInvalidArgument, key + "=" + value + " is not supported by this broker"};
    now[key] = value;
  }
  return now;
}

std::optional<Answer> check_name(const Context& context, const std::string& topic) {
  if (auto legal = protocol::check_topic(topic); !legal)
    return Answer::error(code::kInvalidParameter, legal.error().detail);
  if (context.settings().validate_system_topic && context.topics.is_system(topic)) {
    return Answer::error(code::kInvalidParameter,
                         "The topic[" + topic + "] is conflict with system topic.");
  }
  return std::nullopt;
}

/// Checks and puts one topic; nullopt: done.
std::optional<Answer> put_topic(Context& context, TopicConfig config, const Attributes& changes) {
  if (auto bad = check_name(context, config.topic_name)) return bad;
  if (config.read_queue_nums < 0 || config.write_queue_nums < 0 ||
      config.read_queue_nums > 65'536 || config.write_queue_nums > 65'536) {
    return Answer::error(code::kInvalidParameter, "queue numbers of topic " + config.topic_name +
                                                      " are out of range: 0..65536");
  }
  const TopicPtr present = context.topics.find(config.topic_name);
  auto attributes = alter(present, changes);
  if (!attributes) return Answer::error(code::kSystemError, attributes.error().detail);
  config.attributes = *std::move(attributes);
  const auto type = config.attributes.find("message.type");
  if (type != config.attributes.end() && type->second == "MIXED" &&
      !context.settings().mixed_message_type)
    return Answer::error(code::kInvalidParameter, "MIXED message type is not supported.");
  if (present && *present == config) return std::nullopt;
  context.topics.update(std::move(config));
  return std::nullopt;
}

Answer persisted(const Context& context, const Result<Ok>& done) {
  if (done) return {};
  context.env.log.error("a change is in force but not on disk: {}", done.error().detail);
  return Answer::error(code::kSystemError, "in force, but not written: " + done.error().detail);
}

Answer delete_topic(Context& context, const std::string& topic) {
  if (topic.find_first_not_of(' ') == std::string::npos)
    return Answer::error(code::kInvalidParameter, "The specified topic is blank.");
  if (context.settings().validate_system_topic && context.topics.is_system(topic))
    return Answer::error(code::kInvalidParameter,
                         "The topic[" + topic + "] is conflict with system topic.");
  std::vector<std::string> gone{topic};
  // The pop retry topics that its groups have for it.
  for (const std::string& group : context.offsets.groups_of(topic)) {
    for (const std::string& retry :
         {protocol::retry_topic(group) + "_" + topic, protocol::retry_topic(group) + "+" + topic}) {
      if (context.topics.contains(retry)) gone.push_back(retry);
    }
  }
  for (const std::string& each : gone) {
    context.topics.remove(each);
    context.offsets.remove_topic(each);
    context.store.delete_topic(each);
    context.stats.remove_topic(each);
  }
  context.env.log.info("topic deleted: topic={}", topic);
  return persisted(context, context.topics.persist());
}

void add_topics(remoting::Processors& processors, Context& context) {
  processors.on_worker<protocol::CreateTopicRequest>(
      [&context](const protocol::CreateTopicRequest& header, const OwnedCommand&,
                 const PeerPtr& peer) -> Answer {
        TopicConfig config;
        config.topic_name = header.topic;
        config.read_queue_nums = header.read_queue_nums;
        config.write_queue_nums = header.write_queue_nums;
        config.perm = header.perm;
        config.topic_filter_type = header.topic_filter_type.value_or("SINGLE_TAG");
        config.topic_sys_flag = header.topic_sys_flag.value_or(0);
        config.order = header.order.value_or(false);
        auto changes = parse_changes(header.attributes.value_or(""));
        if (!changes) return Answer::error(code::kSystemError, changes.error().detail);
        context.env.log.info("topic update asked for: topic={} by={}", header.topic,
                             peer->remote_text());
        if (auto refused = put_topic(context, std::move(config), *changes)) return *refused;
        return persisted(context, context.topics.persist());
      });
  processors.on_worker_code<protocol::NoFields>(
      request::kUpdateAndCreateTopicList,
      [&context](const protocol::NoFields&, const OwnedCommand& command, const PeerPtr&) -> Answer {
        auto list =
            protocol::decode_body<protocol::TopicConfigList>(std::string_view{command.body});
        if (!list) return Answer::error(code::kSystemError, list.error().detail);
        for (TopicConfig& config : list->topic_config_list) {
          Attributes changes;
          changes.swap(config.attributes);
          if (auto refused = put_topic(context, config, changes)) return *refused;
        }
        return persisted(context, context.topics.persist());
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
  processors.on_worker_code<protocol::NoFields>(
      request::kGetSystemTopicListFromBroker,
      [&context](const protocol::NoFields&, const OwnedCommand&, const PeerPtr&) {
        return Answer::with_body(protocol::encode_body(
            protocol::TopicList{.topic_list = context.topics.system_topics()}));
      });
  processors.on_worker_code<protocol::NoFields>(
      request::kCleanUnusedTopic,
      [](const protocol::NoFields&, const OwnedCommand&, const PeerPtr&) { return Answer{}; });
}

/// Checks and puts one group; nullopt: done.
std::optional<Answer> put_group(Context& context, protocol::SubscriptionGroupConfig config) {
  if (auto legal = protocol::check_group(config.group_name); !legal)
    return Answer::error(code::kInvalidParameter, legal.error().detail);
  const GroupPtr present = context.groups.find(config.group_name);
  Attributes attributes = present ? present->attributes : Attributes{};
  for (const auto& [key, value] : config.attributes) {
    if (key.starts_with('+'))
      attributes[key.substr(1)] = value;
    else if (key.starts_with('-'))
      attributes.erase(key.substr(1));
    else
      attributes[key] = value;
  }
  config.attributes = std::move(attributes);
  context.groups.update(std::move(config));
  return std::nullopt;
}

void add_groups(remoting::Processors& processors, Context& context) {
  processors.on_worker_code<protocol::NoFields>(
      request::kUpdateAndCreateSubscriptionGroup,
      [&context](const protocol::NoFields&, const OwnedCommand& command, const PeerPtr&) -> Answer {
        auto group = protocol::decode_body<protocol::SubscriptionGroupConfig>(
            std::string_view{command.body});
        if (!group) return Answer::error(code::kSystemError, group.error().detail);
        if (auto refused = put_group(context, *std::move(group))) return *refused;
        return persisted(context, context.groups.persist());
      });
  processors.on_worker_code<protocol::NoFields>(
      request::kUpdateAndCreateSubscriptionGroupList,
      [&context](const protocol::NoFields&, const OwnedCommand& command, const PeerPtr&) -> Answer {
        auto list =
            protocol::decode_body<protocol::SubscriptionGroupList>(std::string_view{command.body});
        if (!list) return Answer::error(code::kSystemError, list.error().detail);
        for (auto& group : list->group_config_list) {
          if (auto refused = put_group(context, std::move(group))) return *refused;
        }
        return persisted(context, context.groups.persist());
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
        if (header.clean_offset.value_or(false)) context.offsets.remove_group(header.group_name);
        context.stats.remove_group(header.group_name);
        context.env.log.info("consumer group deleted: group={} by={}", header.group_name,
                             peer->remote_text());
        return persisted(context, context.groups.persist());
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
      [text = hooks.configuration_text](const protocol::NoFields&, const OwnedCommand&,
                                        const PeerPtr&) {
        return Answer::with(
            protocol::BrokerConfigResponse{protocol::encode_body(protocol::DataVersion{})}, text());
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
