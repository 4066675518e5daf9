#include "broker/subscription.h"
#include "fuzz/law.h"
#include "protocol/message.h"

/// Subscriptions by tags, or by SQL92 if the first byte is even: expression in the first line, a
/// message's properties behind it. Laws: a subscription is made or refused with a reason; it is
/// read from a heartbeat as it was written; a message whose tag is among its tags is taken by the
/// tag's code.
namespace {

using apogee::fuzz::require;

using namespace apogee;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text{reinterpret_cast<const char*>(data + 1), size - 1};
  const std::size_t line = std::min(text.find('\n'), text.size());
  const bool by_tag = data[0] % 2 == 1;
  const auto subscription =
      protocol::subscription_from("t", text.substr(0, line), by_tag ? "TAG" : "SQL92", 1);
  if (!subscription) {
    require(!subscription.error().detail.empty());
    return 0;
  }
  const auto made = broker::make_subscription(*subscription);
  const broker::SubscriptionFilter filter{made};
  if (by_tag) {
    require(made->data.tags_set.size() >= made->data.code_set.size());
    for (const std::string& tag : made->data.tags_set) {
      require(!tag.empty() && tag.find("||") == std::string::npos);
      require(filter.matches_tags_code(protocol::java_hash(tag)));
    }
    const auto heard =
        protocol::decode_body<protocol::SubscriptionData>(protocol::encode_body(*subscription));
    // Text that is no UTF-8 is written with the sign that replaces it.
    if (heard) require(heard->code_set == subscription->code_set);
  }
  static constexpr std::array<std::byte, 4> kHost{};
  Buffer record;
  if (!protocol::encode_message(record,
                                {.born_host = kHost,
                                 .store_host = kHost,
                                 .topic = "t",
                                 .properties = text.substr(std::min(line + 1, text.size()))}))
    return 0;
  require(filter.matches_record(as_bytes(record)) == filter.matches_record(as_bytes(record)));
  return 0;
}
