#include "broker/subscription.h"

#include <algorithm>

#include "protocol/message.h"

namespace apogee::broker {

std::optional<std::string_view> RecordProperties::find(std::string_view name) const {
  return protocol::find_property(properties_, name);
}

SubscriptionPtr make_subscription(protocol::SubscriptionData data) {
  auto subscription = std::make_shared<Subscription>();
  subscription->data = std::move(data);
  if (!subscription->by_tag()) {
    auto compiled = Sql92::compile(subscription->data.sub_string);
    if (compiled) subscription->sql = std::make_shared<const Sql92>(*std::move(compiled));
  }
  return subscription;
}

bool SubscriptionFilter::matches_tags_code(std::int64_t tags_code) const {
  return takes_all_ || subscription_->data.code_set.contains(static_cast<std::int32_t>(tags_code));
}

/// ExpressionMessageFilter.isMatchedByConsumeQueue.
bool SubscriptionFilter::matches_bit_map(std::string_view bit_map,
                                         std::int64_t store_timestamp) const {
  if (!bits_ || store_timestamp <= bits_->since ||
      bit_map.size() * 8 != static_cast<std::size_t>(bits_->pattern.bit_num))
    return true;
  return std::ranges::all_of(bits_->pattern.bit_pos,
                             [&](std::int32_t bit) { return has_bit(bit_map, bit); });
}

bool SubscriptionFilter::matches_record(Bytes record) const {
  if (!subscription_->sql) return true;
  const auto message = protocol::decode_message(record);
  return message && subscription_->sql->matches(RecordProperties{message->properties});
}

}  // namespace apogee::broker
