#pragma once

#include <string>

#include "apogee/consumer.h"
#include "protocol/bodies.h"

/// What a consumer is given, checked and translated. Texts are those of Java's checkConfig, which
/// people search for. Pure.
namespace apogee::client {

Result<Ok> check_config(const PushConsumerConfig& config);
/// kInvalidArgument: the filter makes no sense. `topic` as on the wire.
Result<protocol::SubscriptionData> subscription_of(const std::string& topic, const Filter& filter,
                                                   std::int64_t version);
protocol::ConsumeFromWhere wire(StartFrom from);
protocol::MessageModel wire(MessageModel model);

}  // namespace apogee::client
