#include "client/allocation.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <openssl/evp.h>

namespace apogee {

using Queues = std::vector<MessageQueue>;
using QueueSpan = std::span<const MessageQueue>;
using Ids = std::span<const std::string>;

namespace {

/// AbstractAllocateMessageQueueStrategy.check; the own position, or nothing to divide.
Result<std::optional<std::size_t>> position(const std::string& client_id, QueueSpan queues,
                                            Ids ids) {
  if (client_id.empty()) return Error{Errc::kInvalidArgument, "currentCID is empty"};
  if (queues.empty()) return Error{Errc::kInvalidArgument, "mqAll is null or mqAll empty"};
  if (ids.empty()) return Error{Errc::kInvalidArgument, "cidAll is null or cidAll empty"};
  const auto found = std::ranges::find(ids, client_id);
  if (found == ids.end()) return std::optional<std::size_t>{};
  return std::optional<std::size_t>{static_cast<std::size_t>(found - ids.begin())};
}

/// An Allocation of a pure function over (own position, queues, members).
template <class Divide>
Allocation by_position(std::string name, Divide divide) {
  return {std::move(name),
          [divide = std::move(divide)](const std::string&, const std::string& client_id,
                                       QueueSpan queues, Ids ids) -> Result<Queues> {
            const auto own = position(client_id, queues, ids);
            if (!own) return own.error();
            if (!*own) return Queues{};
            return divide(**own, queues, ids);
          }};
}

/// "room@name" -> room, as Java's split("@") with two parts sees it.
std::optional<std::string_view> room_of_broker(std::string_view broker) {
  while (broker.ends_with('@')) broker.remove_suffix(1);
  const std::size_t at = broker.find('@');
  if (at == std::string_view::npos || broker.find('@', at + 1) != std::string_view::npos)
    return std::nullopt;
  return broker.substr(0, at);
}

Queues divide_in_ranges(std::size_t own, QueueSpan queues, Ids ids) {
  const std::size_t share = queues.size() / ids.size(), rest = queues.size() % ids.size();
  const std::size_t size = own < rest ? share + 1 : share;
  const std::size_t first = own < rest ? own * size : own * size + rest;
  const auto mine = queues.subspan(first, size);
  return {mine.begin(), mine.end()};
}

using Ring = std::map<std::uint32_t, std::string_view>;

Ring ring_of(Ids ids, int virtual_nodes) {
  Ring ring;
  for (const std::string& id : ids)
    for (int i = 0; i < virtual_nodes; ++i)
      ring[client::ring_hash(id + "-" + std::to_string(i))] = id;
  return ring;
}

struct JavaLess {
  bool operator()(const std::string& a, const std::string& b) const {
    return client::java_less(a, b);
  }
};

}  // namespace

Allocation average() {
  return by_position("AVG", divide_in_ranges);
}

Allocation average_by_circle() {
  return by_position("AVG_BY_CIRCLE", [](std::size_t own, QueueSpan queues, Ids ids) {
    Queues mine;
    for (std::size_t i = own; i < queues.size(); i += ids.size()) mine.push_back(queues[i]);
    return mine;
  });
}

Allocation by_config(std::vector<MessageQueue> configured) {
  return {"CONFIG",
          [configured = std::move(configured)](const std::string&, const std::string&,
                                               QueueSpan queues, Ids) -> Result<Queues> {
            Queues mine;
            for (const MessageQueue& each : queues)
              if (std::ranges::find(configured, each) != configured.end()) mine.push_back(each);
            return mine;
          }};
}

Allocation by_machine_room(std::set<std::string> rooms) {
  return by_position("MACHINE_ROOM", [rooms = std::move(rooms)](std::size_t own, QueueSpan queues,
                                                                Ids ids) {
    Queues near;
    for (const MessageQueue& each : queues)
      if (const auto room = room_of_broker(each.broker); room && rooms.contains(std::string{*room}))
        near.push_back(each);
    const std::size_t share = near.size() / ids.size(), rest = near.size() % ids.size();
    const auto first = near.begin() + static_cast<std::ptrdiff_t>(own * share);
    Queues mine{first, first + static_cast<std::ptrdiff_t>(share)};
    if (own < rest) mine.push_back(near[own + share * ids.size()]);
    return mine;
  });
}

Allocation consistent_hash(int virtual_nodes) {
  return {"CONSISTENT_HASH",
          [virtual_nodes](const std::string&, const std::string& client_id, QueueSpan queues,
                          Ids ids) -> Result<Queues> {
            if (virtual_nodes < 1)
              return Error{Errc::kInvalidArgument,
                           fmt::format("illegal virtualNodeCnt :{}", virtual_nodes)};
            const auto own = position(client_id, queues, ids);
            if (!own) return own.error();
            if (!*own) return Queues{};
            const Ring ring = ring_of(ids, virtual_nodes);
            Queues mine;
            for (const MessageQueue& each : queues) {
              auto node = ring.lower_bound(client::ring_hash(client::java_text(each)));
              if (node == ring.end()) node = ring.begin();
              if (node->second == client_id) mine.push_back(each);
            }
            return mine;
          }};
}

Allocation by_nearby_room(Allocation inner, Rooms rooms) {
  std::string name = "MACHINE_ROOM_NEARBY-" + inner.name;
  return {std::move(name),
          [inner = std::move(inner), rooms = std::move(rooms)](
              const std::string& group, const std::string& client_id, QueueSpan queues,
              Ids ids) -> Result<Queues> {
            const auto own = position(client_id, queues, ids);
            if (!own) return own.error();
            if (!*own) return Queues{};
            std::map<std::string, Queues, JavaLess> queues_of;
            for (const MessageQueue& each : queues) {
              const std::string room = rooms.of_queue(each);
              if (room.empty())
                return Error{Errc::kInvalidArgument,
                             "Machine room is null for mq " + client::java_text(each)};
              queues_of[room].push_back(each);
            }
            std::map<std::string, std::vector<std::string>, JavaLess> clients_of;
            for (const std::string& each : ids) {
              const std::string room = rooms.of_client(each);
              if (room.empty())
                return Error{Errc::kInvalidArgument,
                             "Machine room is null for consumer id " + each};
              clients_of[room].push_back(each);
            }
            Queues mine;
            const std::string here = rooms.of_client(client_id);
            const auto take = [&](const Queues& of_room, Ids members) -> Result<Ok> {
              auto share = inner.divide(group, client_id, of_room, members);
              if (!share) return share.error();
              mine.insert(mine.end(), share->begin(), share->end());
              return Ok{};
            };
            if (const auto near = queues_of.find(here); near != queues_of.end())
              if (auto taken = take(near->second, clients_of[here]); !taken) return taken.error();
            for (const auto& [room, of_room] : queues_of) {
              if (room == here || clients_of.contains(room)) continue;
              if (auto taken = take(of_room, ids); !taken) return taken.error();
            }
            return mine;
          }};
}

namespace client {

bool java_less(std::string_view a, std::string_view b) {
  const auto difference = std::ranges::mismatch(a, b);
  if (difference.in2 == b.end()) return false;
  if (difference.in1 == a.end()) return true;
  // Lead bytes 0xEE and 0xEF (U+E000..U+FFFF) stand behind those of surrogate pairs, 0xF0 and up.
  const auto rank = [](char byte) {
    const int value = static_cast<unsigned char>(byte);
    return value == 0xEE || value == 0xEF ? value + 0x10 : value;
  };
  return rank(*difference.in1) < rank(*difference.in2);
}

void sort_as_java(std::vector<MessageQueue>& queues) {
  std::ranges::sort(queues, [](const MessageQueue& a, const MessageQueue& b) {
    if (a.topic != b.topic) return java_less(a.topic, b.topic);
    if (a.broker != b.broker) return java_less(a.broker, b.broker);
    return a.queue_id < b.queue_id;
  });
}

void sort_as_java(std::vector<std::string>& client_ids) {
  std::ranges::sort(client_ids, java_less);
}

std::string java_text(const MessageQueue& queue) {
  return fmt::format("MessageQueue [topic={}, brokerName={}, queueId={}]", queue.topic,
                     queue.broker, queue.queue_id);
}

std::uint32_t ring_hash(std::string_view key) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (EVP_Digest(key.data(), key.size(), digest.data(), &size, EVP_md5(), nullptr) != 1 || size < 4)
    return 0;
  return static_cast<std::uint32_t>(digest[0]) << 24 | static_cast<std::uint32_t>(digest[1]) << 16 |
         static_cast<std::uint32_t>(digest[2]) << 8 | digest[3];
}

}  // namespace client
}  // namespace apogee
