#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apogee/consumer.h"

/// What the allocation strategies of apogee/consumer.h stand on. All members of a group must come
/// to the same division, whatever language they are written in: order and hashes are Java's. Pure.
namespace apogee::client {

/// String.compareTo: by UTF-16 code units. Differs from the order of bytes only in that characters
/// beyond U+FFFF stand before U+E000..U+FFFF.
bool java_less(std::string_view a, std::string_view b);

/// By topic, broker, queue id (MessageQueue.compareTo).
void sort_as_java(std::vector<MessageQueue>& queues);
void sort_as_java(std::vector<std::string>& client_ids);

/// "MessageQueue [topic=t, brokerName=b, queueId=0]": what queues are hashed by.
std::string java_text(const MessageQueue& queue);

/// The first four bytes of the MD5, unsigned (ConsistentHashRouter's default).
std::uint32_t ring_hash(std::string_view key);

}  // namespace apogee::client
