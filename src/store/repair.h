#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "store/inspect.h"

namespace apogee::store {

/// What can be done about one damage. Planning changes nothing; apply() does what `action` says.
struct Remedy {
  std::string file;
  std::uint64_t position = 0;  ///< In the file.
  std::string damage;          ///< What is wrong.
  std::string action;          ///< What apply() does; empty: nothing can be done here.
  std::string loses;           ///< What is lost by it.
  std::string otherwise;       ///< What is lost by leaving it as it is.
  std::function<Result<Ok>()> apply = {};
};

/// A remedy for each damage of a store that nobody has open, the gentlest one. kExists: a process
/// has it open. `files` outlives the remedies. Threads: one; blocks on the disk.
///
/// In the log a damaged stretch is overwritten by a record that takes no place in any queue, so
/// that recovery, Apache's too, steps over it and keeps what follows; queues and index are made
/// from the log and can be made again; tables have a .bak.
Result<std::vector<Remedy>> plan_repair(FileSystem& files, const InspectOptions& options);

}  // namespace apogee::store
