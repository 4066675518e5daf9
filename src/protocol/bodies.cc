#include "protocol/bodies.h"

#include <charconv>

#include <zlib.h>

#include "protocol/message.h"

namespace apogee::protocol {
namespace {

constexpr std::size_t kInflatedBytesMax = 256 << 20;  // a registration of a million topics

Result<Buffer> inflate_all(Bytes in) {
  z_stream stream{};
  if (::inflateInit(&stream) != Z_OK) return Error{Errc::kIo, "zlib cannot start"};
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(in.data()));
  stream.avail_in = static_cast<uInt>(in.size());
  Buffer out;
  int result = Z_OK;
  while (result == Z_OK && out.size() <= kInflatedBytesMax) {
    const std::size_t before = out.size();
    out.resize(before + std::size_t{64} * 1024);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    stream.avail_out = 64 * 1024;
    result = ::inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
  }
  ::inflateEnd(&stream);
  if (result != Z_STREAM_END)
    return Error{Errc::kMalformed, "the compressed body is damaged or too large"};
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
std::optional<TopicConfig> parse_topic_line(std::string_view line) {
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
    return std::nullopt;
  config.topic_filter_type = word();
  if (!line.empty()) {
    auto attributes = decode_body<std::map<std::string, std::string>>(line);
    if (attributes) config.attributes = *std::move(attributes);
  }
  return config;
}

constexpr std::int32_t kVersion5_0_0 = 413;  // from here the mapping part is there

}  // namespace

Result<RegisterBrokerBody> decode_compressed_registration(Bytes body, std::int32_t version) {
  auto inflated = inflate_all(body);
  if (!inflated) return inflated.error();
  Error malformed{Errc::kMalformed, "the compressed registration is cut short"};
  Parts parts{as_bytes(*inflated)};
  RegisterBrokerBody registration;
  const auto data_version = parts.text();
  if (!data_version) return malformed;
  auto decoded = decode_body<DataVersion>(*data_version);
  if (!decoded) return decoded.error();
  registration.topics.data_version = *decoded;
  const auto count = parts.number();
  if (!count) return malformed;
  for (std::int32_t i = 0; i < *count; ++i) {
    const auto line = parts.text();
    if (!line) return malformed;
    auto config = parse_topic_line(*line);
    if (!config)
      return Error{Errc::kMalformed, "a topic of the compressed registration is malformed"};
    const std::string name = config->topic_name;
    registration.topics.topic_config_table[name] = *std::move(config);
  }
  if (const auto filter_servers = parts.text()) {
    if (auto list = decode_body<std::vector<std::string>>(*filter_servers))
      registration.filter_server_list = *std::move(list);
  }
  if (version < kVersion5_0_0) return registration;
  Json mappings = Json::object();
  const auto mapping_count = parts.number().value_or(0);
  for (std::int32_t i = 0; i < mapping_count; ++i) {
    const auto text = parts.text();
    if (!text) return malformed;
    auto mapping = parse_json(*text);
    if (!mapping) return mapping.error();
    const Json* topic = mapping->find("topic");
    if (topic && topic->text()) mappings.set(*topic->text(), *mapping);
  }
  if (mapping_count > 0) registration.topics.topic_queue_mapping_info_map = std::move(mappings);
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
