#pragma once

#include <span>
#include <string>

#include "apogee/message.h"
#include "apogee/result.h"

/// What may be sent, checked before anything leaves. The texts and codes are those of Java's
/// Validators, which people search for.
namespace apogee::client {

Result<Ok> check_group(const std::string& group);
/// A topic a program may send to.
Result<Ok> check_send_topic(const std::string& topic);
Result<Ok> check_message(const Message& message, std::size_t max_bytes);
/// A body, or a batch as encoded.
Result<Ok> check_size(std::size_t bytes, std::size_t max_bytes);
/// What a batch may not mix or hold, besides what holds for each message. Its size is known once it
/// is encoded.
Result<Ok> check_batch(std::span<const Message> batch, std::size_t max_bytes);
/// Names a program may not use for its own properties.
bool is_reserved_property(std::string_view name);

}  // namespace apogee::client
