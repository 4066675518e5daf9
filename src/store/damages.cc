#include "store/damages.h"

namespace apogee::store {

void Damages::tell(const std::string& file, std::int64_t position, std::string_view what) {
  bool last = false;
  {
    std::lock_guard lock{mutex_};
    if (told_.size() >= kToldMax || !told_.emplace(file, position).second) return;
    last = told_.size() == kToldMax;
  }
  count_.fetch_add(1, std::memory_order_relaxed);
  log_.error(
      "damage in the log, it is not given out: file={} position={} {}; stop the broker and see "
      "`apogee inspect repair`{}",
      file, position, what, last ? "; no more damages are told or counted until a restart" : "");
}

}  // namespace apogee::store
