#pragma once

#include "apogee/result.h"

namespace apogee::store {

/// Of a sync of the timer's files. Whatever it failed of, a full disk too, what is on disk is
/// unknown and the next sync would not tell: that is kIo, which is not tried again. Without a
/// descriptor nothing was begun.
inline Result<Ok> synced_or_broken(Result<Ok> synced) {
  if (synced || synced.error().code == Errc::kBusy) return synced;
  return Error{Errc::kIo, synced.error().detail};
}

}  // namespace apogee::store
