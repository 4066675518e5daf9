#include "main/bench_loads.h"

#include <thread>

#include "main/bench_wire.h"
#include "protocol/bodies.h"
#include "protocol/headers.h"
#include "protocol/message.h"

namespace apogee::bench {
namespace {

constexpr std::int64_t kLongPollMs = 1'000;

std::vector<Buffer> send_frames(const Options& options) {
  const std::string body(static_cast<std::size_t>(options.size), 'x');
  std::vector<Buffer> frames;
  for (int queue = 0; queue < options.queues; ++queue) {
    Buffer properties;
    protocol::append_property(properties, protocol::property::kUniqueKey,
                              "7F0000010B5A18B4AAC2000000000000");
    protocol::append_property(properties, protocol::property::kWait, "true");
    protocol::SendMessageV2 header{};
    header.producer_group = "apogee_bench";
    header.topic = options.topic;
    header.default_topic = protocol::kDefaultTopic;
    header.queue_id = queue;
    header.born_timestamp = std::chrono::duration_cast<std::chrono::milliseconds>(
                                std::chrono::system_clock::now().time_since_epoch())
                                .count();
    header.properties = properties;
    header.reconsume_times = 0;
    header.unit_mode = false;
    header.batch = options.batch > 1;
    if (options.batch == 1) {
      frames.push_back(frame_of(protocol::request_code::kSendMessageV2, header, as_bytes(body)));
      continue;
    }
    Buffer members;
    for (int i = 0; i < options.batch; ++i)
      protocol::append_batch_member(members,
                                    {.flag = 0, .body = as_bytes(body), .properties = properties});
    frames.push_back(
        frame_of(protocol::request_code::kSendBatchMessage, header, as_bytes(members)));
  }
  return frames;
}

}  // namespace

void Outcome::merge(const Outcome& other) {
  latency_us.merge(other.latency_us);
  messages += other.messages;
  requests += other.requests;
  for (const auto& [code, count] : other.errors) errors[code] += count;
}

Result<std::string> find_broker(const Options& options) {
  if (!options.broker.empty()) return options.broker;
  Wire wire;
  if (auto connected = wire.connect(options.name_server); !connected) return connected.error();
  Buffer frame;
  protocol::encode_command(frame,
                           {.code = protocol::request_code::kGetBrokerClusterInfo, .opaque = 1},
                           protocol::NoFields{});
  auto answer = wire.call(frame);
  if (!answer) return answer.error();
  auto info = protocol::decode_body<protocol::ClusterInfo>(std::string_view{answer->second});
  if (!info) return info.error();
  for (const auto& [name, data] : info->broker_address_table) {
    if (const auto master = data.broker_addresses.find(0); master != data.broker_addresses.end())
      return master->second;
  }
  return Error{Errc::kNotFound, "the name server " + options.name_server + " knows no broker"};
}

Result<Ok> create_topic(const Options& options, const std::string& broker) {
  Wire wire;
  if (auto connected = wire.connect(broker); !connected) return connected.error();
  const protocol::CreateTopicRequest header{.topic = options.topic,
                                            .default_topic = std::string{protocol::kDefaultTopic},
                                            .read_queue_nums = options.queues,
                                            .write_queue_nums = options.queues,
                                            .perm = 6,
                                            .topic_filter_type = "SINGLE_TAG",
                                            .topic_sys_flag = 0,
                                            .order = false};
  Buffer frame;
  protocol::encode_command(frame, {.code = protocol::CreateTopicRequest::kCode, .opaque = 1},
                           header);
  auto answer = wire.call(frame);
  if (!answer) return answer.error();
  if (answer->first != 0)
    return Error{
        Errc::kRefused,
        "the topic was not created: code " + std::to_string(answer->first) + " " + answer->second,
        answer->first};
  return Ok{};
}

void send_load(const Share& share) {
  const auto& [options, broker, number, end, outcome, progress] = share;
  Wire wire;
  if (auto connected = wire.connect(broker); !connected) {
    outcome.errors[-1]++;
    return;
  }
  std::vector<Buffer> frames = send_frames(options);
  const auto window = static_cast<std::size_t>(options.in_flight);
  std::vector<Clock::time_point> due(window);  // when the request in this slot should have left
  std::vector<std::int32_t> free_slots;
  for (std::size_t i = 0; i < window; ++i) free_slots.push_back(static_cast<std::int32_t>(i));
  const bool paced = options.rate > 0;
  const auto period =
      paced ? std::chrono::duration_cast<Clock::duration>(
                  std::chrono::duration<double>(options.connections * options.batch / options.rate))
            : Clock::duration{};
  auto next_due = Clock::now() + period * number / std::max(options.connections, 1);
  std::size_t next_frame = static_cast<std::size_t>(number);
  Buffer out;
  while (true) {
    auto now = Clock::now();
    if (now >= end && free_slots.size() == window) break;
    out.clear();
    while (now < end && !free_slots.empty() && (!paced || next_due <= now)) {
      const std::int32_t slot = free_slots.back();
      free_slots.pop_back();
      // Open loop: waiting for a free slot counts as latency too, from the moment the request was
      // due.
      due[static_cast<std::size_t>(slot)] = paced ? next_due : now;
      if (paced) next_due += period;
      const Buffer& frame = frames[next_frame++ % frames.size()];
      const std::size_t at = out.size();
      out += frame;
      set_opaque(out, slot, at);
    }
    if (!out.empty() && !wire.send(out)) break;
    const auto take = [&](const protocol::CommandView& answer) {
      const auto slot = static_cast<std::size_t>(answer.opaque);
      if (slot >= window) return;
      const auto took =
          std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - due[slot]).count();
      ++outcome.requests;
      if (answer.code == 0) {
        outcome.latency_us.record(static_cast<std::uint64_t>(std::max<std::int64_t>(took, 0)));
        outcome.messages += static_cast<std::uint64_t>(options.batch);
        progress.fetch_add(static_cast<std::uint64_t>(options.batch), std::memory_order_relaxed);
      } else {
        ++outcome.errors[answer.code];
      }
      free_slots.push_back(answer.opaque);
    };
    // Slept and not looked for: who spins takes the core that the broker needs.
    const bool good =
        paced && now < end
            ? wire.receive_until(free_slots.empty() ? end : std::min(next_due, end), take)
            : wire.receive(take);
    if (!good) {
      ++outcome.errors[-1];
      break;
    }
  }
}

namespace {

/// One pull after the other from one queue.
struct PullSlot {
  int queue = 0;
  std::int64_t offset = 0;
  Clock::time_point began;
  bool under_way = false;
};

/// `wait`: the broker holds the answer until there is something.
Buffer pull_frame(const Options& options, const PullSlot& slot, std::int32_t opaque,
                  bool wait = false) {
  protocol::PullMessageRequest header{};
  header.consumer_group = "apogee_bench";
  header.topic = options.topic;
  header.queue_id = slot.queue;
  header.queue_offset = slot.offset;
  header.max_messages = options.count;
  header.sys_flag = protocol::pull_flag::kSubscription | (wait ? protocol::pull_flag::kSuspend : 0);
  header.commit_offset = 0;
  header.suspend_timeout_ms = wait ? kLongPollMs : 0;
  header.subscription = "*";
  header.sub_version = 0;
  header.expression_type = "TAG";
  Buffer frame = frame_of(protocol::request_code::kPullMessage, header);
  set_opaque(frame, opaque);
  return frame;
}

std::uint64_t records_in(Bytes body) {
  std::uint64_t count = 0;
  while (body.size() >= 4) {
    const auto size = static_cast<std::size_t>(read_big<std::uint32_t>(body));
    if (size == 0 || size > body.size()) break;
    body = body.subspan(size);
    ++count;
  }
  return count;
}

/// Takes the answer of a slot's pull; the slot is then free for its next one.
void take_pulled(const protocol::CommandView& answer, PullSlot& slot, Outcome& outcome,
                 std::atomic<std::uint64_t>& progress) {
  slot.under_way = false;
  ++outcome.requests;
  if (answer.code == protocol::response_code::kPullNotFound ||
      answer.code == protocol::response_code::kPullOffsetMoved) {
    slot.offset = 0;  // once more from the beginning
    return;
  }
  if (answer.code != 0) {
    ++outcome.errors[answer.code];
    return;
  }
  const std::uint64_t count = records_in(answer.body);
  outcome.messages += count;
  progress.fetch_add(count, std::memory_order_relaxed);
  const auto response = protocol::read_header<protocol::PullMessageResponse>(answer);
  if (response) slot.offset = response->next_begin_offset;
  outcome.latency_us.record(static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - slot.began).count()));
}

}  // namespace

void pull_load(const Share& share) {
  const auto& [options, broker, number, end, outcome, progress] = share;
  Wire wire;
  if (auto connected = wire.connect(broker); !connected) {
    outcome.errors[-1]++;
    return;
  }
  std::vector<PullSlot> slots(static_cast<std::size_t>(options.in_flight));
  for (std::size_t i = 0; i < slots.size(); ++i)
    slots[i].queue = (number * options.in_flight + static_cast<int>(i)) % options.queues;
  Buffer out;
  while (Clock::now() < end) {
    out.clear();
    const auto now = Clock::now();
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (slots[i].under_way) continue;
      out += pull_frame(options, slots[i], static_cast<std::int32_t>(i));
      slots[i].began = now;
      slots[i].under_way = true;
    }
    if (!wire.send(out) || !wire.receive([&](const protocol::CommandView& answer) {
          const auto slot = static_cast<std::size_t>(answer.opaque);
          if (slot < slots.size()) take_pulled(answer, slots[slot], outcome, progress);
        })) {
      ++outcome.errors[-1];
      return;
    }
  }
}

void route_load(const Share& share) {
  const auto& [options, name_server, number, end, outcome, progress] = share;
  Wire wire;
  if (auto connected = wire.connect(name_server); !connected) {
    outcome.errors[-1]++;
    return;
  }
  const Buffer frame = frame_of(protocol::request_code::kGetRouteInfoByTopic,
                                protocol::RouteRequest{.topic = options.topic});
  std::vector<Clock::time_point> began(static_cast<std::size_t>(options.in_flight));
  std::vector<std::int32_t> free_slots;
  for (int i = 0; i < options.in_flight; ++i) free_slots.push_back(i);
  Buffer out;
  while (Clock::now() < end) {
    out.clear();
    const auto now = Clock::now();
    for (const std::int32_t slot : free_slots) {
      const std::size_t at = out.size();
      out += frame;
      set_opaque(out, slot, at);
      began[static_cast<std::size_t>(slot)] = now;
    }
    free_slots.clear();
    if (!wire.send(out) || !wire.receive([&](const protocol::CommandView& answer) {
          const auto slot = static_cast<std::size_t>(answer.opaque);
          if (slot >= began.size()) return;
          ++outcome.requests;
          free_slots.push_back(answer.opaque);
          if (answer.code != 0) {
            ++outcome.errors[answer.code];
            return;
          }
          ++outcome.messages;
          progress.fetch_add(1, std::memory_order_relaxed);
          outcome.latency_us.record(static_cast<std::uint64_t>(
              std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began[slot])
                  .count()));
        })) {
      ++outcome.errors[-1];
      return;
    }
  }
}

namespace {

/// Where the queue ends now; messages from earlier runs are not this run's.
std::int64_t end_of_queue(Wire& wire, const Options& options, int queue) {
  const Buffer frame = frame_of(protocol::request_code::kGetMaxOffset,
                                protocol::QueueRequest{.topic = options.topic, .queue_id = queue});
  std::int64_t offset = 0;
  bool answered = false;
  if (!wire.send(frame)) return 0;
  while (!answered && wire.receive([&](const protocol::CommandView& answer) {
    answered = true;
    if (const auto text = answer.find("offset")) protocol::from_text(*text, offset);
  })) {
  }
  return offset;
}

/// The receiving half: long polls one queue until `last` has been received or sending is over and
/// nothing came for a while. When each message was due stands in the first 8 bytes of its body.
void receive_sent(const Share& share, int queue, std::int64_t from,
                  const std::atomic<bool>& sending_over, Outcome& outcome) {
  const Options& options = share.options;
  Wire wire;
  if (!wire.connect(share.to)) return;
  PullSlot slot{.queue = queue, .offset = from};
  const auto began = Clock::now();
  for (int idle = 0; !sending_over || idle < 2;) {
    bool found = false;
    if (!wire.send(pull_frame(options, slot, 0, /*wait=*/true)) ||
        !wire.receive([&](const protocol::CommandView& answer) {
          const auto now = Clock::now();
          const auto response = protocol::read_header<protocol::PullMessageResponse>(answer);
          if (answer.code != 0 || !response) return;
          found = true;
          slot.offset = response->next_begin_offset;
          for (Bytes rest = answer.body; !rest.empty();) {
            const auto message = protocol::decode_message(rest);
            if (!message || message->body.size() < sizeof(std::int64_t)) break;
            const Clock::time_point due{Clock::duration{read_big<std::int64_t>(message->body)}};
            rest = rest.subspan(static_cast<std::size_t>(message->size));
            // What another load has left and the broker had not shown yet has no time in it.
            if (due < began || due > now) continue;
            outcome.latency_us.record(static_cast<std::uint64_t>(
                std::chrono::duration_cast<std::chrono::microseconds>(now - due).count()));
            ++outcome.messages;
            share.progress.fetch_add(1, std::memory_order_relaxed);
          }
        })) {
      ++outcome.errors[-1];
      return;
    }
    idle = found ? 0 : idle + 1;
  }
}

}  // namespace

void end_to_end_load(const Share& share) {
  const auto& [options, broker, number, end, outcome, progress] = share;
  const int queue = number % options.queues;
  Wire wire;
  if (auto connected = wire.connect(broker); !connected) {
    outcome.errors[-1]++;
    return;
  }
  std::atomic<bool> over{false};
  Outcome received;
  std::thread receiver{[&, from = end_of_queue(wire, options, queue)] {
    receive_sent(share, queue, from, over, received);
  }};
  Buffer frame = send_frames(options)[static_cast<std::size_t>(queue)];
  const std::size_t body_at = frame.size() - static_cast<std::size_t>(options.size);
  const auto period = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(options.connections / options.rate));
  auto due = Clock::now() + std::chrono::milliseconds{10} +
             period * number / std::max(options.connections, 1);
  for (; due < end; due += period) {
    std::this_thread::sleep_until(due);
    write_big<std::int64_t>(std::as_writable_bytes(std::span{frame.data(), frame.size()}), body_at,
                            due.time_since_epoch().count());
    int code = -1;
    if (!wire.send(frame)) break;
    while (code < 0 &&
           wire.receive([&](const protocol::CommandView& answer) { code = answer.code; })) {
    }
    ++outcome.requests;
    if (code != 0) ++outcome.errors[code];
  }
  over = true;
  receiver.join();
  outcome.merge(received);
}

}  // namespace apogee::bench
