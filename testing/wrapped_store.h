#pragma once

#include <memory>
#include <utility>

#include "store/message_store.h"

namespace apogee::testing {

/// A store that passes everything on: derive, and change one thing.
class WrappedStore : public store::MessageStore {
 public:
  explicit WrappedStore(std::unique_ptr<MessageStore> real) : real_{std::move(real)} {}
  void start() override { real_->start(); }
  void stop() override { real_->stop(); }
  void append(std::span<store::Append* const> batch) override { real_->append(batch); }
  void when_durable(std::int64_t physical_offset,
                    std::function<void(store::PutStatus)> done) override {
    real_->when_durable(physical_offset, std::move(done));
  }
  store::GetResult get(const store::GetRequest& request) override { return real_->get(request); }
  store::RecordBytes record_at(std::int64_t physical_offset) override {
    return real_->record_at(physical_offset);
  }
  store::RecordBytes record_at(std::string_view topic, std::int32_t queue_id,
                               std::int64_t queue_offset) override {
    return real_->record_at(topic, queue_id, queue_offset);
  }
  std::vector<store::RecordBytes> query_by_key(std::string_view topic, std::string_view key,
                                               std::int32_t max, std::int64_t begin_ms,
                                               std::int64_t end_ms) override {
    return real_->query_by_key(topic, key, max, begin_ms, end_ms);
  }
  std::vector<store::RecordBytes> query_by_tag(std::string_view topic, std::string_view tag,
                                               std::int32_t max, std::int64_t begin_ms,
                                               std::int64_t end_ms) override {
    return real_->query_by_tag(topic, tag, max, begin_ms, end_ms);
  }
  std::vector<store::QueueUnit> queue_units(std::string_view topic, std::int32_t queue_id,
                                            std::int64_t queue_offset,
                                            std::int32_t count) override {
    return real_->queue_units(topic, queue_id, queue_offset, count);
  }
  std::int64_t min_offset(std::string_view topic, std::int32_t queue_id) override {
    return real_->min_offset(topic, queue_id);
  }
  std::int64_t max_offset(std::string_view topic, std::int32_t queue_id) override {
    return real_->max_offset(topic, queue_id);
  }
  std::int64_t offset_by_time(std::string_view topic, std::int32_t queue_id, std::int64_t timestamp,
                              store::Boundary boundary) override {
    return real_->offset_by_time(topic, queue_id, timestamp, boundary);
  }
  std::int64_t store_time(std::string_view topic, std::int32_t queue_id,
                          std::int64_t queue_offset) override {
    return real_->store_time(topic, queue_id, queue_offset);
  }
  std::int64_t earliest_store_time(std::string_view topic, std::int32_t queue_id) override {
    return real_->earliest_store_time(topic, queue_id);
  }
  std::int64_t earliest_store_time() override { return real_->earliest_store_time(); }
  bool in_memory(std::string_view topic, std::int32_t queue_id,
                 std::int64_t queue_offset) override {
    return real_->in_memory(topic, queue_id, queue_offset);
  }
  std::vector<store::QueueInfo> queues() override { return real_->queues(); }
  std::vector<store::QueueInfo> queues(std::string_view topic) override {
    return real_->queues(topic);
  }
  Result<Ok> delete_topic(std::string_view topic) override { return real_->delete_topic(topic); }
  std::int32_t clean_expired_queues() override { return real_->clean_expired_queues(); }
  void delete_expired_segments() override { real_->delete_expired_segments(); }
  store::StoreStatus status() override { return real_->status(); }
  const store::StoreConfig& config() const override { return real_->config(); }
  void change_config(store::StoreConfig next) override { real_->change_config(std::move(next)); }

 private:
  const std::unique_ptr<MessageStore> real_;
};

}  // namespace apogee::testing
