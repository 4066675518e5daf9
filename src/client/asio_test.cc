#include "apogee/asio.h"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>

#include "testing/consumer_fixture.h"

/// The library's waits as asynchronous operations of Asio.
namespace apogee {
namespace {

class WithAsio : public ConsumerFixture {
 protected:
  ~WithAsio() override { client_->shutdown(); }  // first: its threads post to io_
  /// Runs a coroutine to its end on this thread.
  void run(asio::awaitable<void> coroutine) {
    asio::co_spawn(io_, std::move(coroutine), [](std::exception_ptr failed) {
      if (failed) std::rethrow_exception(failed);
    });
    io_.run();
  }
  asio::io_context io_{1};
};

TEST_F(WithAsio, ACoroutineGoesOnOnItsExecutor) {
  const auto here = std::this_thread::get_id();
  std::vector<std::string> seen;
  run([&]() -> asio::awaitable<void> {
    Message hello{.topic = "orders", .body = "hello"};
    auto sent = co_await to_asio(producer_->send_async(std::move(hello), 5s));
    EXPECT_EQ(std::this_thread::get_id(), here);
    EXPECT_TRUE(sent) << sent.error().detail;
    if (!sent) co_return;
    LitePullConsumer consumer = *client_->lite_pull_consumer({.group = "reports"});
    EXPECT_TRUE(consumer.assign({sent->queue}));
    auto sought = co_await to_asio(consumer.seek_async(sent->queue, sent->queue_offset));
    EXPECT_TRUE(sought);
    auto polled = co_await to_asio(consumer.poll_async(5s));
    EXPECT_EQ(std::this_thread::get_id(), here);
    for (const auto& message : *polled) seen.push_back(message.body);
    auto ended = co_await to_asio(consumer.shutdown_async());
    EXPECT_TRUE(ended);
    EXPECT_EQ(std::this_thread::get_id(), here);
  }());
  EXPECT_THAT(seen, ::testing::ElementsAre("hello"));
}

TEST_F(WithAsio, ErrorsAreValues) {
  run([&]() -> asio::awaitable<void> {
    Message nowhere{.topic = "not a topic", .body = "x"};
    auto sent = co_await to_asio(producer_->send_async(std::move(nowhere), 5s));
    EXPECT_EQ(sent.error().code, Errc::kInvalidArgument) << "found before anything was begun";
    client_->shutdown();
    Message late{.topic = "orders", .body = "x"};
    auto after = co_await to_asio(producer_->send_async(std::move(late), 5s));
    EXPECT_EQ(after.error().code, Errc::kStopped);
  }());
}

TEST_F(WithAsio, AClientThatEndsEndsTheWait) {
  broker_->freeze(true);
  std::thread end{[&] {
    EXPECT_TRUE(eventually([&] { return producer_->statistics().in_flight == 1; }));
    client_->shutdown();
  }};
  run([&]() -> asio::awaitable<void> {
    Message hello{.topic = "orders", .body = "hello"};
    auto sent = co_await to_asio(producer_->send_async(std::move(hello), 60s));
    EXPECT_EQ(sent.error().code, Errc::kStopped) << sent.error().detail;
  }());
  end.join();
  broker_->freeze(false);
}

TEST_F(WithAsio, AWaitCanBeCancelledWhatItWaitsForGoesOn) {
  asio::cancellation_signal cancel;
  std::optional<Error> error;
  int rounds = 0;
  const auto send = [&]() -> asio::awaitable<void> {
    Message hello{.topic = "orders", .body = "hello"};
    auto sent = co_await to_asio(producer_->send_async(std::move(hello), 60s));
    ++rounds;
    if (!sent) error = sent.error();
  };
  broker_->freeze(true);
  asio::co_spawn(io_, send(), asio::bind_cancellation_slot(cancel.slot(), asio::detached));
  while (producer_->statistics().in_flight == 0) io_.run_one_for(1ms);
  cancel.emit(asio::cancellation_type::terminal);
  EXPECT_FALSE(error) << "not inside emit()";
  io_.run();
  EXPECT_EQ(producer_->statistics().in_flight, 1u);
  broker_->freeze(false);
  EXPECT_TRUE(eventually([&] { return producer_->statistics().sent == 1; }));
  io_.restart();
  io_.run();
  EXPECT_EQ(rounds, 1);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Errc::kStopped);
  EXPECT_TRUE(error->perhaps_done);
}

/// An executor whose posts take their time after what is posted could already run. The time is for
/// what must not happen: without the wait it would happen in it, with it nothing depends
/// on how long it is.
struct SlowToLeave {
  asio::io_context* io;
  std::atomic<bool>* left;

  asio::io_context& context() const noexcept { return *io; }
  void on_work_started() const noexcept { io->get_executor().on_work_started(); }
  void on_work_finished() const noexcept { io->get_executor().on_work_finished(); }
  template <class Function, class Allocator>
  void post(Function&& function, const Allocator& allocator) const {
    io->get_executor().post(std::forward<Function>(function), allocator);
    std::this_thread::sleep_for(20ms);
    *left = true;
  }
  template <class Function, class Allocator>
  void dispatch(Function&& function, const Allocator& allocator) const {
    post(std::forward<Function>(function), allocator);
  }
  template <class Function, class Allocator>
  void defer(Function&& function, const Allocator& allocator) const {
    post(std::forward<Function>(function), allocator);
  }
  bool operator==(const SlowToLeave&) const = default;
};

TEST_F(WithAsio, TheContextMayEndAsSoonAsTheWaitIsOver) {
  std::atomic<bool> left{false};
  bool over = false;
  LitePullConsumer consumer = *client_->lite_pull_consumer({.group = "reports"});
  // Ends on a thread of its own, which nobody waits for.
  to_asio(consumer.shutdown_async(), asio::bind_executor(SlowToLeave{&io_, &left}, [&](auto ended) {
            EXPECT_TRUE(ended);
            EXPECT_TRUE(left) << "the library's thread is still in a post to it";
            over = true;
          }));
  io_.run();
  EXPECT_TRUE(over);
}

TEST_F(WithAsio, AnyCompletionTokenWillDo) {
  const Message message{.topic = "orders", .body = "hello"};
  auto future = to_asio(producer_->send_async(message, 5s), asio::use_future);
  EXPECT_TRUE(future.get());

  asio::thread_pool pool{2};
  auto strand = asio::make_strand(pool);
  bool on_strand = false;
  to_asio(producer_->send_async(message, 5s),
          asio::bind_executor(strand, [&, kept = std::make_unique<int>(7)](auto sent) {
            EXPECT_TRUE(sent);
            on_strand = strand.running_in_this_thread() && *kept == 7;
          }));
  pool.join();  // a wait keeps its executor at work
  EXPECT_TRUE(on_strand);
}

}  // namespace
}  // namespace apogee
