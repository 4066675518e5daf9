#pragma once

#include "base/clock.h"
#include "base/executor.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/transport.h"

namespace apogee {

/// The seams to the outside world, borrowed by every component. Nothing else reads the time, opens
/// a file or a socket, or draws a random number. main() and tests own what it points to.
struct Env {
  Clock& clock;
  FileSystem& files;
  Transport& network;
  Executor& workers;  ///< For work that may block.
  Random& random;
  Logger& log;
};

}  // namespace apogee
