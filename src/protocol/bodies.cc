#include "protocol/bodies.h"

#include <algorithm>
#include <charconv>

#include <zlib.h>

#include "protocol/message.h"

namespace apogee::protocol {
namespace {

// 20 000 plain topics become 14 to 23 times smaller, 20 000 static ones of 8 queues 36 times, more
// with more queues; zlib's limit, which only a bomb comes near, is 1 000. 64 MiB are 400 000 topics
// with attributes of 100 bytes.
constexpr std::size_t kInflatedTimesMax = 100, kInflatedBytesFree = 1 << 20,
                      kInflatedBytesMax = 64 << 20;
constexpr std::size_t kTopicsMax = 400'000;  // of 300 bytes each in memory

constexpr std::size_t inflated_bytes_max(std::size_t compressed) {
  return std::min(kInflatedBytesFree + kInflatedTimesMax * compressed, kInflatedBytesMax);
}

Error malformed(std::string why) {
  return {Errc::kMalformed, "the compressed registration " + std::move(why)};
}

Result<Buffer> inflate_all(Bytes in) {
  z_stream stream{};
  if (::inflateInit(&stream) != Z_OK) return Error{Errc::kIo, "zlib cannot start"};
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(in.data()));
  stream.avail_in = static_cast<uInt>(in.size());
  const std::size_t most = inflated_bytes_max(in.size());
  Buffer out;
  int result = Z_OK;
  while (result == Z_OK && out.size() <= most) {
    constexpr std::size_t kStep = 64 << 10;
    const std::size_t before = out.size();
    out.resize(before + kStep);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    stream.avail_out = kStep;
    result = ::inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
  }
  ::inflateEnd(&stream);
  if (out.size() > most)
    return malformed("of " + std::to_string(in.size()) + " bytes becomes more than " +
                     std::to_string(most) + ", the most taken for its size");
  if (result != Z_STREAM_END) return malformed("is damaged");
  return out;
}

/// Length-prefixed texts, one after the other.
class Parts {
 public:
  explicit Parts(Bytes in) : in_{in} {}
  std::optional<std::int32_t> number() {
    if (in_.size() < 4) return std::nullopt;
    const auto value = read_big<std::int32_t>(in_);
    in_ = in_.subspan(4);
    return value;
  }
  /// How many texts follow; nullopt: more than the bytes that are left can hold.
  std::optional<std::size_t> count() {
    const auto value = number();
    if (!value || *value < 0 || static_cast<std::size_t>(*value) > in_.size() / 4)
      return std::nullopt;
    return static_cast<std::size_t>(*value);
  }
  bool empty() const { return in_.empty(); }
  std::optional<std::string_view> text() {
    const auto length = number();
    if (!length || *length < 0 || static_cast<std::size_t>(*length) > in_.size())
      return std::nullopt;
    const std::string_view value = as_text(in_.first(static_cast<std::size_t>(*length)));
    in_ = in_.subspan(value.size());
    return value;
  }

 private:
  Bytes in_;
};

/// "name readQueues writeQueues perm FILTER_TYPE {attributes}"; older brokers leave the attributes
/// out.
Result<TopicConfig> parse_topic_line(std::string_view line, JsonBudget& budget) {
  TopicConfig config;
  const auto word = [&]() -> std::string_view {
    const std::size_t end = std::min(line.find(' '), line.size());
    const std::string_view value = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
    return value;
  };
  config.topic_name = word();
  if (config.topic_name.empty() || !from_text(word(), config.read_queue_nums) ||
      !from_text(word(), config.write_queue_nums) || !from_text(word(), config.perm))
    return malformed("has a malformed topic");
  config.topic_filter_type = word();
  if (line.empty()) return config;
  auto attributes = decode_body<std::map<std::string, std::string>>(line, budget);
  if (attributes)
    config.attributes = *std::move(attributes);
  else if (budget.values == 0)
    return attributes.error();
  return config;
}

constexpr std::int32_t kVersion5_0_0 = 413;  // from here the mapping part is there

Result<Ok> read_topics(Parts& parts, JsonBudget& budget, TopicConfigTable& table) {
  const auto version = parts.text();
  if (!version) return malformed("is cut short");
  auto decoded = decode_body<DataVersion>(*version, budget);
  if (!decoded) return decoded.error();
  table.data_version = *decoded;
  const auto count = parts.count();
  if (!count) return malformed("is cut short");
  if (*count > kTopicsMax)
    return malformed("has " + std::to_string(*count) + " topics, the most taken are " +
                     std::to_string(kTopicsMax));
  for (std::size_t i = 0; i < *count; ++i) {
    const auto line = parts.text();
    if (!line) return malformed("is cut short");
    auto config = parse_topic_line(*line, budget);
    if (!config) return config.error();
    std::string name = config->topic_name;
    table.topic_config_table.insert_or_assign(std::move(name), *std::move(config));
  }
  return Ok{};
}

/// Of static topics: topic -> mapping.
Result<std::optional<Json>> read_mappings(Parts& parts, JsonBudget& budget) {
  if (parts.empty()) return std::optional<Json>{};
  const auto count = parts.count();
  if (!count) return malformed("is cut short");
  std::map<std::string, Json> mappings;  // the last of a topic counts
  for (std::size_t i = 0; i < *count; ++i) {
    const auto text = parts.text();
    if (!text) return malformed("is cut short");
    auto mapping = parse_json(*text, budget);
    if (!mapping) return mapping.error();
    const Json* topic = mapping->find("topic");
    if (!topic || !topic->text()) continue;
    std::string name = *topic->text();
    mappings.insert_or_assign(std::move(name), *std::move(mapping));
  }
  if (*count == 0) return std::optional<Json>{};
  Json::Object members;
  members.reserve(mappings.size());
  while (!mappings.empty()) {  // one after the other: never twice in memory
    auto first = mappings.extract(mappings.begin());
    Json::Member& member = members.emplace_back();
    member.key = std::move(first.key());
    member.value.push_back(std::move(first.mapped()));
  }
  return std::optional{Json{Json::Value{std::move(members)}}};
}

}  // namespace

Result<RegisterBrokerBody> decode_compressed_registration(Bytes body, std::int32_t version) {
  auto inflated = inflate_all(body);
  if (!inflated) return inflated.error();
  Parts parts{as_bytes(*inflated)};
  JsonBudget budget = received_budget(inflated->size());  // of all its parts together
  RegisterBrokerBody registration;
  if (auto read = read_topics(parts, budget, registration.topics); !read) return read.error();
  if (const auto filter_servers = parts.text()) {
    if (auto list = decode_body<std::vector<std::string>>(*filter_servers, budget))
      registration.filter_server_list = *std::move(list);
    else if (budget.values == 0)
      return list.error();
  }
  if (version < kVersion5_0_0) return registration;
  auto mappings = read_mappings(parts, budget);
  if (!mappings) return mappings.error();
  registration.topics.topic_queue_mapping_info_map = *std::move(mappings);
  return registration;
}

Result<SubscriptionData> subscription_from(std::string_view topic, std::string_view expression,
                                           std::string_view type, std::int64_t version) {
  SubscriptionData data;
  data.topic = topic;
  data.sub_string = expression;
  data.sub_version = version;
  if (!type.empty() && type != "TAG") {
    if (expression.empty())
      return Error{Errc::kInvalidArgument, "Expression can't be null! " + std::string{type}};
    data.expression_type = type;
    return data;
  }
  if (expression.empty() || expression == "*") {
    data.sub_string = "*";
    return data;
  }
  bool any = false;
  while (!expression.empty()) {
    const std::size_t bars = expression.find("||");
    std::string_view tag = expression.substr(0, bars);
    expression = bars == std::string_view::npos ? std::string_view{} : expression.substr(bars + 2);
    any = any || !tag.empty();
    while (!tag.empty() && static_cast<unsigned char>(tag.front()) <= ' ') tag.remove_prefix(1);
    while (!tag.empty() && static_cast<unsigned char>(tag.back()) <= ' ') tag.remove_suffix(1);
    if (tag.empty()) continue;
    data.tags_set.emplace(tag);
    data.code_set.insert(java_hash(tag));
  }
  if (!any) return Error{Errc::kInvalidArgument, "subString split error"};
  return data;
}

}  // namespace apogee::protocol
