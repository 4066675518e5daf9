#pragma once

#include <memory>
#include <optional>
#include <string>
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

/// The bits a group sets in the bit map of each message it wants, and since when it has.
struct FilterBits {
  protocol::BloomPattern pattern;
  std::int64_t since = 0;  ///< Unix ms: of older messages nothing is known.
};

inline bool has_bit(std::string_view bit_map, std::int32_t bit) {
  return (bit_map[static_cast<std::size_t>(bit / 8)] >> bit % 8 & 1) != 0;
}
inline void set_bit(std::string& bit_map, std::int32_t bit) {
  char& byte = bit_map[static_cast<std::size_t>(bit / 8)];
  byte = static_cast<char>(byte | 1 << bit % 8);
}

/// Compiles the expression; never fails: what does not compile has sql == nullptr.
SubscriptionPtr make_subscription(protocol::SubscriptionData data);

/// Tags by hash code only, as the broker has always done it: the client compares the tags
/// themselves (ExpressionMessageFilter).
class SubscriptionFilter final : public store::MessageFilter {
 public:
  explicit SubscriptionFilter(SubscriptionPtr subscription,
                              std::optional<FilterBits> bits = std::nullopt)
      : subscription_{std::move(subscription)},
        bits_{std::move(bits)},
        takes_all_{!subscription_->by_tag() || subscription_->data.class_filter_mode ||
                   subscription_->data.sub_string == "*"} {}

  bool takes_all() const { return takes_all_ && !needs_record(); }
  bool matches_tags_code(std::int64_t tags_code) const override;
  bool matches_bit_map(std::string_view bit_map, std::int64_t store_timestamp) const override;
  bool needs_record() const override { return subscription_->sql != nullptr; }
  bool matches_record(Bytes record) const override;

 private:
  SubscriptionPtr subscription_;
  std::optional<FilterBits> bits_;
  bool takes_all_;
};

/// The properties of a record, as an expression asks for them.
class RecordProperties final : public PropertyLookup {
 public:
  explicit RecordProperties(std::string_view properties) : properties_{properties} {}
  std::optional<std::string_view> find(std::string_view name) const override;

 private:
  std::string_view properties_;
};

}  // namespace apogee::broker
