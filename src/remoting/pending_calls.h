#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "remoting/answered_in_place.h"

namespace apogee::remoting {

/// A request on its way, and who is told what it comes to.
struct Call {
  std::int32_t opaque = 0;
  Clock::Instant deadline{};
  AnsweredInPlace done;
  Clock::Instant made{};    ///< Coarse: when the connection was last swept.
  std::uint32_t reads = 0;  ///< Of the connection until then.
};

/// The calls of one connection that wait for their answers. Opaques are counted up, so that those
/// that wait mostly lie side by side: each has its place by its low bits, and only where an older
/// call still waits (a pull that is held, among thousands of sends) it is kept elsewhere.
///
/// Threads: one, the connection's loop.
class PendingCalls {
 public:
  /// Its `done` is not null.
  void insert(Call&& call) {
    if (size_ >= places_.size() / 2 && places_.size() < kPlacesMax) grow();
    ++size_;
    put(std::move(call));
  }
  /// Null: nobody waits for that.
  AnsweredInPlace take(std::int32_t opaque) {
    if (size_ == 0) return nullptr;
    if (Call& place = place_of(opaque); place.done && place.opaque == opaque) {
      --size_;
      return std::exchange(place.done, nullptr);
    }
    const auto found = elsewhere_.find(opaque);
    if (found == elsewhere_.end()) return nullptr;
    AnsweredInPlace done = std::move(found->second.done);
    elsewhere_.erase(found);
    --size_;
    return done;
  }
  /// All whose deadline has passed.
  std::vector<Call> take_late(Clock::Instant now) {
    std::vector<Call> late;
    for (Call& place : places_)
      if (place.done && place.deadline <= now) late.push_back(std::exchange(place, {}));
    for (auto at = elsewhere_.begin(); at != elsewhere_.end();) {
      if (at->second.deadline <= now) {
        late.push_back(std::move(at->second));
        at = elsewhere_.erase(at);
      } else {
        ++at;
      }
    }
    size_ -= late.size();
    return late;
  }
  std::vector<Call> take_all() { return take_late(Clock::Instant::max()); }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kPlacesFirst = 16, kPlacesMax = 4'096;

  Call& place_of(std::int32_t opaque) {
    return places_[static_cast<std::uint32_t>(opaque) & (places_.size() - 1)];
  }
  void put(Call&& call) {
    if (Call& place = place_of(call.opaque); !place.done)
      place = std::move(call);
    else
      elsewhere_.insert_or_assign(call.opaque, std::move(call));
  }
  void grow() {
    auto before =
        std::exchange(places_, std::vector<Call>(std::max(2 * places_.size(), kPlacesFirst)));
    for (Call& each : before)
      if (each.done) put(std::move(each));
    // Who stood in the way may do so no longer, but is found where it is.
  }

  std::vector<Call> places_;  // a power of two
  std::unordered_map<std::int32_t, Call> elsewhere_;
  std::size_t size_ = 0;
};

}  // namespace apogee::remoting
