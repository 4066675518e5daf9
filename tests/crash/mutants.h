#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "broker/broker.h"

namespace apogee::crash {

/// How a life of the broker ends.
enum class End {
  kCutMidway,     ///< Power fails at some operation of the disk.
  kCutWhenQuiet,  ///< Power fails between two.
  kKill,
  kStop,
  kFaults,        ///< The disk refuses a few things, then power fails.
  kFailingSyncs,  ///< A sync of the log fails, then power fails. Not drawn: of mutants only.
};

/// A bug put in on purpose, from the outside: the broker's own code stays as it is, its disk or its
/// store lies to it. That is what the checker must find.
struct Mutant {
  const char* name = "none";
  const char* what = "";
  /// Caught at the latest by the run with this seed, counted from 1.
  std::uint64_t seeds = 0;
  /// Only runs of one kind can show it.
  enum class Only { kBoth, kSyncFlush, kAsyncFlush } only = Only::kBoth;
  std::optional<End> end = {};  ///< How every life ends; absent: as the seed says.
  std::function<std::unique_ptr<FileSystem>(FileSystem&)> files = {};
  decltype(broker::BrokerSetup::open_store) open_store = {};
};

const std::vector<Mutant>& mutants();

}  // namespace apogee::crash
