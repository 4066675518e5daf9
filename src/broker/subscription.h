#pragma once

#include <memory>
#include <string_view>

#include "apogee/result.h"
#include "broker/sql92.h"
#include "protocol/bodies.h"
#include "store/message_store.h"

/// What a consumer group wants of a topic, ready to be asked message by message. Immutable once
/// made: shared between the table of consumers, running pulls and held ones.
namespace apogee::broker {

struct Subscription {
  protocol::SubscriptionData data;
  /// SQL92 only; nullptr: the expression does not compile.
  std::shared_ptr<const Sql92> sql;

  bool by_tag() const { return data.expression_type.empty() || data.expression_type == "TAG"; }
};
using SubscriptionPtr = std::shared_ptr<const Subscription>;

/// Compiles the expression; never fails: what does not compile has sql == nullptr.
SubscriptionPtr make_subscription(protocol::SubscriptionData data);

/// Tags by hash code only, as the broker has always done it: the client compares the tags
/// themselves (ExpressionMessageFilter).
class SubscriptionFilter final : public store::MessageFilter {
 public:
  explicit SubscriptionFilter(SubscriptionPtr subscription)
      : subscription_{std::move(subscription)},
        takes_all_{!subscription_->by_tag() || subscription_->data.class_filter_mode ||
                   subscription_->data.sub_string == "*"} {}

  bool takes_all() const { return takes_all_ && !needs_record(); }
  bool matches_tags_code(std::int64_t tags_code) const override;
  bool needs_record() const override { return subscription_->sql != nullptr; }
  bool matches_record(Bytes record) const override;

 private:
  SubscriptionPtr subscription_;
  bool takes_all_;
};

}  // namespace apogee::broker
