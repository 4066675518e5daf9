#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "store/file_chain.h"

/// What the entries of one consume queue lead to with enableConsumeQueueExt: `consumequeue_ext/`,
/// in Java's layout (ConsumeQueueExt). An entry then holds an address, below all tags' codes, of a
/// unit with the tags' code, the store time and the bit map of the filters that match.
///
/// A unit is vouched for by the entry that leads to it and by nothing else: it is written and made
/// durable before it. Where there is none, the record tells its tags.
///
/// Threads: those of the ConsumeQueue that owns it.
namespace apogee::store {

class QueueExtension {
 public:
  struct Unit {
    std::int64_t tags_code = 0, store_timestamp = 0;
    std::string_view bit_map;
  };
  /// A unit as it was read.
  struct Found {
    std::int64_t tags_code = 0, store_timestamp = 0;
    std::string bit_map;
  };
  static constexpr std::int64_t kFirstAddress = std::numeric_limits<std::int64_t>::min();

  QueueExtension(Env& env, FileCache& cache, FileChain::Place place)
      : files_{env, cache, std::move(place)} {}

  Result<Ok> load(bool clean);
  /// The last entry of the queue that leads here leads to `address`; nullopt: none does. What is
  /// behind it is cut off. False: that unit is lost, and all begins anew behind its address.
  Result<bool> end_behind(std::optional<std::int64_t> address);

  /// The address it will have; nullopt: it is too large.
  std::optional<std::int64_t> put(const Unit& unit);
  Result<Ok> write_pending();

  std::optional<Found> find(std::int64_t address) const;

  /// The queue begins with an entry that leads to `address`: files wholly before it go.
  Result<Ok> remove_before(std::int64_t address);
  Result<Ok> remove_all();
  Result<Ok> sync(bool all);
  void sync_begins();
  void sync_ended(bool good);

 private:
  FileChain files_;
  std::string pending_;                // dispatch thread: from pending_position_ on
  std::int64_t pending_position_ = 0;  // dispatch thread
  std::atomic<std::int64_t> written_{0}, synced_{0};
  std::int64_t syncing_to_ = 0;  // whoever syncs
};

}  // namespace apogee::store
