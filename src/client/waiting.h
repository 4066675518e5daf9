#pragma once

#include <future>
#include <utility>

#include "apogee/result.h"
#include "client/runtime.h"

namespace apogee::client {

/// Waits for what `start` promises with the function it is given. Every promise of this library is
/// kept by its deadline, so this ends too. kInvalidArgument: on an io thread, which would wait for
/// itself.
template <class T, class Start>
Result<T> wait_for(const Start& start) {
  if (CallbackScope::on_io_thread())
    return Error{Errc::kInvalidArgument,
                 "a blocking call inside a callback on an io thread would wait for itself; use the "
                 "form with a callback"};
  std::promise<Result<T>> promise;
  start([&](Result<T> result) { promise.set_value(std::move(result)); });
  return promise.get_future().get();
}

}  // namespace apogee::client
