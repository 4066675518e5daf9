#pragma once

// For tests of a store: one with files so small that a few messages fill several, and what is put
// into any store and read from it.

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "protocol/message.h"
#include "store/message_store.h"

namespace apogee::testing {

constexpr std::int64_t kSmallSegment = 4'096, kSmallQueueFile = 200;

/// In the directory "store".
inline store::StoreConfig small_store() {
  store::StoreConfig config;
  config.root = "store";
  config.commit_log_file_bytes = kSmallSegment;
  config.consume_queue_file_bytes = kSmallQueueFile;
  config.index_slots = 10;
  config.index_units = 100;
  return config;
}

using Properties = std::vector<std::pair<std::string_view, std::string>>;

inline Buffer encoded(std::string_view topic, std::string_view body,
                      const Properties& properties = {}, std::int32_t flags = 0,
                      std::int32_t queue_id = 0) {
  Buffer text, record;
  for (const auto& [name, value] : properties)
    if (!value.empty()) protocol::append_property(text, name, value);
  static constexpr std::array<std::byte, 4> kHost{};
  EXPECT_TRUE(protocol::encode_message(record, {.queue_id = queue_id,
                                                .sys_flag = flags,
                                                .born_timestamp = 1,
                                                .born_host = kHost,
                                                .store_host = kHost,
                                                .body = as_bytes(body),
                                                .topic = topic,
                                                .properties = text}));
  return record;
}

/// What became of it; its records have gone.
inline store::Append append_to(store::MessageStore& store, std::string_view topic, Buffer record,
                               std::int32_t queue_id = 0) {
  store::Append append{.topic = topic,
                       .queue_id = queue_id,
                       .records = std::as_writable_bytes(std::span{record.data(), record.size()})};
  store::Append* batch[] = {&append};
  store.append(batch);
  return append;
}

/// Messages of the topic's queue 0 that are given out.
inline std::int64_t readable(store::MessageStore& store, std::string_view topic = "T") {
  std::int64_t count = 0;
  for (std::int64_t at = std::max<std::int64_t>(store.min_offset(topic, 0), 0);
       at < store.max_offset(topic, 0);) {
    const store::GetResult got = store.get({.topic = topic, .queue_id = 0, .offset = at});
    if (got.next_offset <= at) break;
    at = got.next_offset;
    count += got.message_count;
  }
  return count;
}

}  // namespace apogee::testing
