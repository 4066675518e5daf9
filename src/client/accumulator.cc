#include "client/accumulator.h"

#include <utility>

#include "protocol/names.h"

namespace apogee::client {

Result<Ok> Accumulator::check(const Settings& settings) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(settings.delay).count();
  if (ms < 1 || ms > 30'000)
    return Error{Errc::kInvalidArgument,
                 "batchMaxDelayMs expect between 1ms and 30s, but get " + std::to_string(ms) + "!"};
  if (settings.batch_bytes < 1 || settings.batch_bytes > 2 << 20)
    return Error{Errc::kInvalidArgument, "batchMaxBytes expect between 1B and 2MB, but get " +
                                             std::to_string(settings.batch_bytes) + "!"};
  return Ok{};
}

bool Accumulator::fits(const Message& message) {
  return message.deliver.kind == Delivery::Kind::kNow && !protocol::is_retry_topic(message.topic);
}

Result<Accumulator::Added> Accumulator::add(Member&& member,
                                            const std::optional<MessageQueue>& queue) {
  const std::size_t size = member.message.body.size(), encoded = member.encoded_bytes;
  const auto now = clock_.now();
  std::lock_guard lock{mutex_};
  if (stopped_) return Error{Errc::kStopped, "nothing is gathered any more"};
  if (bytes_ + size > settings_.total_bytes)
    return Error{Errc::kBusy, "too much waits to be sent in batches"};
  Key key{member.message.topic, queue, member.message.wait_store, member.message.tag};
  const auto at = open_.try_emplace(std::move(key)).first;
  Open& open = at->second;
  Added added;
  if (!open.batch.members.empty() && !holds(open, size, encoded)) added.full.push_back(empty(open));
  const bool first = open.batch.members.empty();
  const Clock::Instant before = first ? Clock::Instant::max() : open.due;
  if (first) {
    open.batch.queue = queue;
    open.due = now + settings_.delay;
  }
  // Half of what is left is for the sending.
  open.due = std::min(open.due, now + (member.deadline - now) / 2);
  open.batch.members.push_back(std::move(member));
  open.bytes += size;
  open.encoded_bytes += encoded;
  bytes_ += size;
  if (!holds(open, 1, 1))
    added.full.push_back(take(at));
  else if (open.due < before)
    added.due = open.due;
  return added;
}

/// With so much more.
bool Accumulator::holds(const Open& open, std::size_t bytes, std::size_t encoded_bytes) const {
  return open.bytes + bytes <= settings_.batch_bytes &&
         open.encoded_bytes + encoded_bytes <= settings_.encoded_bytes;
}

Accumulator::Batch Accumulator::empty(Open& open) {
  bytes_ -= open.bytes;
  open.bytes = open.encoded_bytes = 0;
  return std::exchange(open.batch, {});
}

Accumulator::Batch Accumulator::take(std::map<Key, Open>::iterator at) {
  Batch batch = empty(at->second);
  open_.erase(at);
  return batch;
}

std::vector<Accumulator::Batch> Accumulator::due() {
  const auto now = clock_.now();
  std::vector<Batch> batches;
  std::lock_guard lock{mutex_};
  for (auto at = open_.begin(); at != open_.end();) {
    const auto next = std::next(at);
    if (at->second.due <= now) batches.push_back(take(at));
    at = next;
  }
  return batches;
}

std::vector<Accumulator::Batch> Accumulator::take_all() {
  std::vector<Batch> batches;
  std::lock_guard lock{mutex_};
  stopped_ = true;
  while (!open_.empty()) batches.push_back(take(open_.begin()));
  return batches;
}

std::size_t Accumulator::waiting_bytes() const {
  std::lock_guard lock{mutex_};
  return bytes_;
}

std::vector<SendReceipt> split_receipt(const SendReceipt& whole, std::size_t members) {
  std::vector<SendReceipt> receipts;
  receipts.reserve(members);
  std::string_view message_ids = whole.message_id, offset_ids = whole.offset_message_id;
  const auto next = [](std::string_view& list) {
    const std::size_t comma = list.find(',');
    const std::string_view first = list.substr(0, comma);
    list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
    return std::string{first};
  };
  for (std::size_t i = 0; i < members; ++i) {
    SendReceipt receipt = whole;
    receipt.message_id = next(message_ids);
    receipt.offset_message_id = next(offset_ids);
    receipt.queue_offset = whole.queue_offset + static_cast<std::int64_t>(i);
    receipts.push_back(std::move(receipt));
  }
  return receipts;
}

}  // namespace apogee::client
