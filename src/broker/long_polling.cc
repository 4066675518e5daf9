#include "broker/long_polling.h"

#include <algorithm>

#include "broker/arrivals.h"

namespace apogee::broker {

LongPolling::LongPolling(Clock& clock, MaxOffset max_offset)
    : clock_{clock}, max_offset_{std::move(max_offset)} {}

LongPolling::~LongPolling() {
  for (Shard& shard : shards_) {
    std::map<Clock::Instant, Clock::TimerId> timers;
    {
      std::lock_guard lock{shard.mutex};
      shard.stopped = true;
      timers.swap(shard.timers);
    }
    // Not under the mutex: cancel() waits for a sweep that waits for it.
    for (const auto& [when, timer] : timers) clock_.cancel(timer);
  }
}

void LongPolling::take(Shard& shard, Place place, Woken& woken) {
  Held& held = *place.at;
  shard.deadlines.erase(held.deadline);
  held.of_peer->erase(held.in_peer);
  woken.push_back(std::move(held.pull));
  place.queue->erase(place.at);
  size_.fetch_sub(1, std::memory_order_relaxed);
}

void LongPolling::arm(Shard& shard) {
  if (shard.deadlines.empty() || shard.stopped) return;
  const Clock::Instant due = shard.deadlines.begin()->first + kDeadlineGrain;
  if (!shard.timers.empty() && shard.timers.begin()->first <= due) return;
  shard.timers.emplace(due, clock_.run_at(due, [this, &shard] { sweep(shard); }));
}

void LongPolling::sweep(Shard& shard) {
  Woken woken;
  {
    std::lock_guard lock{shard.mutex};
    const Clock::Instant now = clock_.now();
    shard.timers.erase(shard.timers.begin(), shard.timers.upper_bound(now));
    while (!shard.deadlines.empty() && shard.deadlines.begin()->first <= now)
      take(shard, shard.deadlines.begin()->second, woken);
    arm(shard);
  }
  resume(std::move(woken));
}

void LongPolling::hold(HeldPull pull) {
  Shard& shard = shard_of(pull.topic, pull.queue_id);
  const std::string topic = pull.topic;
  const std::int32_t queue_id = pull.queue_id;
  const std::int64_t offset = pull.offset;
  const remoting::PeerPtr peer = pull.peer;
  Woken refused;
  {
    std::lock_guard lock{shard.mutex};
    PeerPlaces& of_peer = shard.peers[peer->id()];
    if (shard.stopped || of_peer.size() >= kPerPeerMax / kShards) {
      refused.push_back(std::move(pull));
    } else {
      auto queue = shard.queues.find(QueueRef{topic, queue_id});
      if (queue == shard.queues.end())
        queue = shard.queues.try_emplace(Queue{topic, queue_id}).first;
      HeldList& list = queue->second;
      const Clock::Instant deadline = pull.deadline;
      list.push_back({std::move(pull), next_id_.fetch_add(1), {}, &of_peer, {}});
      const Place place{&list, std::prev(list.end())};
      place.at->deadline = shard.deadlines.emplace(deadline, place);
      of_peer.push_back(place);
      place.at->in_peer = std::prev(of_peer.end());
      size_.fetch_add(1, std::memory_order_relaxed);
      arm(shard);
    }
  }
  if (!refused.empty()) return resume(std::move(refused));
  // A message whose dispatch came before our insertion is visible here: its on_arrivals() took the
  // shard's mutex before us, or will find the pull.
  const std::int64_t max_offset = max_offset_(topic, queue_id);
  if (max_offset > offset) wake_beyond(topic, queue_id, max_offset);
  // Likewise the end of the connection: drop_peer() may have run before the insertion.
  if (!peer->connected()) drop_peer(*peer);
}

bool LongPolling::wakes(const HeldPull& pull, std::span<const store::Arrival> arrivals) {
  return std::ranges::any_of(arrivals, [&](const store::Arrival& arrival) {
    return arrival.queue_offset >= pull.offset && takes(pull.filter.get(), arrival);
  });
}

void LongPolling::on_arrivals(std::span<const store::Arrival> arrivals) {
  Woken woken;
  while (!arrivals.empty()) {
    const std::span<const store::Arrival> run = of_one_queue(arrivals);
    const store::Arrival& first = run.front();
    Shard& shard = shard_of(first.topic, first.queue_id);
    {
      std::lock_guard lock{shard.mutex};
      const auto queue = shard.queues.find(QueueRef{first.topic, first.queue_id});
      if (queue != shard.queues.end()) {
        for (auto at = queue->second.begin(); at != queue->second.end();) {
          const auto next = std::next(at);
          if (wakes(at->pull, run)) take(shard, {&queue->second, at}, woken);
          at = next;
        }
      }
    }
    arrivals = arrivals.subspan(run.size());
  }
  resume(std::move(woken));
}

void LongPolling::wake_beyond(std::string_view topic, std::int32_t queue_id,
                              std::int64_t max_offset) {
  Woken woken;
  Shard& shard = shard_of(topic, queue_id);
  {
    std::lock_guard lock{shard.mutex};
    const auto queue = shard.queues.find(QueueRef{topic, queue_id});
    if (queue == shard.queues.end()) return;
    for (auto at = queue->second.begin(); at != queue->second.end();) {
      const auto next = std::next(at);
      if (at->pull.offset < max_offset) take(shard, {&queue->second, at}, woken);
      at = next;
    }
  }
  resume(std::move(woken));
}

void LongPolling::check() {
  for (Shard& shard : shards_) {
    std::vector<Queue> queues;
    {
      std::lock_guard lock{shard.mutex};
      std::erase_if(shard.queues, [](const auto& each) { return each.second.empty(); });
      std::erase_if(shard.peers, [](const auto& each) { return each.second.empty(); });
      for (const auto& [queue, held] : shard.queues) queues.push_back(queue);
    }
    // The store is asked without the mutex: its locks are taken before ours when messages arrive.
    for (const Queue& queue : queues)
      wake_beyond(queue.topic, queue.queue_id, max_offset_(queue.topic, queue.queue_id));
  }
}

void LongPolling::drop_peer(const remoting::Peer& peer) {
  Woken dropped;  // destroyed without the mutex: it may hold the last reference to much
  for (Shard& shard : shards_) {
    std::lock_guard lock{shard.mutex};
    const auto of_peer = shard.peers.find(peer.id());
    if (of_peer == shard.peers.end()) continue;
    while (!of_peer->second.empty()) take(shard, of_peer->second.front(), dropped);
    shard.peers.erase(of_peer);
  }
}

void LongPolling::wake_all() {
  for (Shard& shard : shards_) {
    Woken woken;
    {
      std::lock_guard lock{shard.mutex};
      while (!shard.deadlines.empty()) take(shard, shard.deadlines.begin()->second, woken);
    }
    resume(std::move(woken));
  }
}

void LongPolling::resume(Woken woken) {
  std::map<Loop*, Woken> by_loop;
  for (HeldPull& pull : woken) by_loop[&pull.peer->loop()].push_back(std::move(pull));
  for (auto& [loop, pulls] : by_loop) {
    // std::function wants to copy what it holds.
    auto shared = std::make_shared<Woken>(std::move(pulls));
    loop->post([shared] {
      for (HeldPull& pull : *shared) pull.resume();
    });
  }
}

}  // namespace apogee::broker
