#include "broker/subscription.h"

#include "protocol/message.h"

namespace apogee::broker {
namespace {

class RecordProperties final : public PropertyLookup {
 public:
  explicit RecordProperties(std::string_view properties) : properties_{properties} {}
  std::optional<std::string_view> find(std::string_view name) const override {
    return protocol::find_property(properties_, name);
  }

 private:
  std::string_view properties_;
};

}  // namespace

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

bool SubscriptionFilter::matches_record(Bytes record) const {
  if (!subscription_->sql) return true;
  const auto message = protocol::decode_message(record);
  return message && subscription_->sql->matches(RecordProperties{message->properties});
}

}  // namespace apogee::broker
