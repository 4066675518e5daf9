#include "fuzz/law.h"
#include "protocol/bodies.h"
#include "protocol/json.h"

/// Bodies: fastjson's dialect and the structs read from it. Laws: what is parsed is written, in
/// every style, as something that parses to the same; no struct chokes on any text.
namespace {

using apogee::fuzz::require;

using namespace apogee;
using namespace apogee::protocol;

template <class Body>
void check_body(std::string_view text) {
  auto body = decode_body<Body>(text);
  if (!body) return;
  const Buffer once = write_json(to_json(*body));
  auto again = decode_body<Body>(once);
  require(again.has_value());
  require(write_json(to_json(*again)) == once);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(std::as_bytes(std::span{data, size}));
  const auto json = parse_json(text);
  if (json) {
    for (const JsonStyle style : {JsonStyle::kFastjson, JsonStyle::kStandard, JsonStyle::kPretty}) {
      const Buffer once = write_json(*json, style);
      const auto again = parse_json(once);
      require(again.has_value());
      require(write_json(*again, style) == once);
    }
  }
  check_body<RegisterBrokerBody>(text);
  check_body<TopicConfigTable>(text);
  check_body<SubscriptionGroupTable>(text);
  check_body<HeartbeatData>(text);
  check_body<TopicRouteData>(text);
  (void)decode_compressed_registration(as_bytes(text), 513);
  (void)decode_compressed_registration(as_bytes(text), 400);
  return 0;
}
