#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>

#include "apogee/awaitable.h"

/// For programs that use Asio, 1.22 or later: what ends in _async as one of its asynchronous
/// operations. The only header of the library that needs anything but the standard library. For the
/// shared library: the static one brings inline functions of its own Asio along.
namespace apogee {

/// One wait: a handler of Asio's for what the library promises.
///
/// Threads: the library keeps its promise on one of its own; everything else happens on the
/// handler's executor, which a wait keeps at work.
template <class T, class Handler>
class AsioWait : public std::enable_shared_from_this<AsioWait<T, Handler>> {
 public:
  AsioWait(Awaitable<T> begun, Handler handler)
      : begun_{std::move(begun)}, handler_{std::move(handler)}, work_{executor()} {}

  void begin() {
    if (auto slot = asio::get_associated_cancellation_slot(*handler_); slot.is_connected())
      slot.assign([weak = this->weak_from_this()](asio::cancellation_type kind) {
        constexpr auto kMayHaveHadEffect =
            asio::cancellation_type::terminal | asio::cancellation_type::partial;
        auto self = weak.lock();
        if (self && (kind & kMayHaveHadEffect) != asio::cancellation_type::none)
          end_soon(
              std::move(self),
              Error{Errc::kStopped, "the wait was cancelled; what was asked goes on", 0, true});
      });
    begun_.start([self = this->shared_from_this()](Result<T> result) mutable {
      end_soon(std::move(self), std::move(result));
    });
  }

 private:
  auto executor() const { return asio::get_associated_executor(*handler_); }
  /// Never inside the call that begins the wait, or that cancels it.
  static void end_soon(std::shared_ptr<AsioWait> self, Result<T> result) {
    if (self->ended_.exchange(true)) return;
    const AsioWait& wait = *self;
    // What goes on there may end the executor's context, which this thread has to leave before.
    auto left = std::make_shared<std::atomic<bool>>(false);
    asio::post(wait.executor(), [self = std::move(self), result = std::move(result),
                                 left]() mutable {
      left->wait(false);
      if (auto slot = asio::get_associated_cancellation_slot(*self->handler_); slot.is_connected())
        slot.clear();
      Handler handler = *std::move(self->handler_);
      self->handler_.reset();
      self->work_.reset();
      self.reset();
      std::move(handler)(std::move(result));
    });
    left->store(true);
    left->notify_one();
  }

  // Nothing of the executor is kept once the wait is over: who lets go of this last may be a thread
  // of the library's, later.
  Awaitable<T> begun_;
  std::optional<Handler> handler_;
  std::optional<asio::executor_work_guard<asio::associated_executor_t<Handler>>> work_;
  std::atomic<bool> ended_{false};
};

/// `co_await to_asio(producer.send_async(..))` in an asio::awaitable; with any other completion
/// token a future, a callback, whatever the token makes of void(Result<T>). Goes on on the
/// executor of the coroutine, or of the handler. Errors are values, also kStopped of a client that
/// has ended and, with perhaps_done, of a wait that was cancelled: what it waited for goes on.
///
/// Lifetime: the execution context outlives the wait, and may end as soon as that is over. Once
/// Client::shutdown() has returned no wait is under way.
template <class T, asio::completion_token_for<void(Result<T>)> Token = asio::use_awaitable_t<>>
auto to_asio(Awaitable<T> begun, Token&& token = {}) {
  return asio::async_initiate<Token, void(Result<T>)>(
      [](auto handler, Awaitable<T> awaited) {
        std::make_shared<AsioWait<T, decltype(handler)>>(std::move(awaited), std::move(handler))
            ->begin();
      },
      token, std::move(begun));
}

}  // namespace apogee
