#pragma once

#include <functional>
#include <utility>

#include "base/callback.h"
#include "remoting/peer.h"

namespace apogee::remoting {

/// What a call comes to: the answer (any code), kTimeout or kDisconnected. In place, that is as a
/// view of bytes that last as long as the call of the function: nothing is copied for it.
using AnsweredInPlace = Callback<void(Result<protocol::CommandView>)>;
/// For whoever keeps the answer.
inline AnsweredInPlace owning(std::function<void(Result<OwnedCommand>)> done) {
  return [done = std::move(done)](Result<protocol::CommandView> answer) {
    if (!answer) return done(std::move(answer.error()));
    done(OwnedCommand{*answer});
  };
}

}  // namespace apogee::remoting
