#include <condition_variable>
#include <future>
#include <string_view>

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <netdb.h>

#include "remoting/client.h"

namespace {

/// The question for one name, which DNS does not answer until it is told to.
class SilentName {
 public:
  static constexpr std::string_view kName = "silent.example";

  void ask() {
    std::unique_lock lock{mutex_};
    asked_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, std::chrono::seconds{20}, [&] { return answered_; });
    answered_ = true;
  }
  bool wait_until_asked() {
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, std::chrono::seconds{20}, [&] { return asked_; });
  }
  bool answered() {
    std::lock_guard lock{mutex_};
    return answered_;
  }
  void answer() {
    std::lock_guard lock{mutex_};
    answered_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool asked_ = false, answered_ = false;
};

SilentName& silent() {
  static auto* const name = new SilentName;  // who asks may outlive main()
  return *name;
}

}  // namespace

/// In the system's place.
extern "C" int getaddrinfo(const char* host, const char* service, const addrinfo* hints,
                           addrinfo** found) {
  if (host != nullptr && host == SilentName::kName) {
    silent().ask();
    return EAI_AGAIN;
  }
  if (host != nullptr && host == std::string_view{"no name"}) return EAI_NONAME;
  if (host != nullptr && host == std::string_view{"other.example"}) host = "127.0.0.1";
  static const auto system =
      reinterpret_cast<decltype(&getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  return system(host, service, hints, found);
}

namespace apogee::remoting {
namespace {

using namespace std::chrono_literals;
using Made = Result<std::unique_ptr<Stream>>;

/// What came of it, within half a minute.
Made result(std::promise<Made>& promise) {
  auto future = promise.get_future();
  if (future.wait_for(30s) != std::future_status::ready)
    return Error{Errc::kIo, "nothing came of it"};
  return future.get();
}

TEST(NamesOfHosts, HoldUpNeitherOthersNorTheEndWhileNobodyAnswers) {
  auto transport = make_transport(1);
  std::promise<Made> late, other;
  transport->connect({std::string{SilentName::kName}, 1}, 100ms,
                     [&](auto made) { late.set_value(std::move(made)); });
  ASSERT_TRUE(silent().wait_until_asked());
  auto listener = transport->listen({"127.0.0.1", 0}, [](std::unique_ptr<Stream>) {});
  ASSERT_TRUE(listener) << listener.error().detail;
  transport->connect({"other.example", (*listener)->local().port}, 10s,
                     [&](auto made) { other.set_value(std::move(made)); });
  {
    const auto connected = result(other);
    EXPECT_TRUE(connected) << connected.error().detail;
  }
  const auto timed_out = result(late);
  ASSERT_FALSE(timed_out);
  EXPECT_EQ(timed_out.error().code, Errc::kTimeout);
  listener->reset();
  transport.reset();
  EXPECT_FALSE(silent().answered()) << "the end waited for it";
  silent().answer();
}

TEST(NamesOfHosts, ThatAreNoneAreTold) {
  auto transport = make_transport(1);
  std::promise<Made> made;
  transport->connect({"no name", 1}, 20s, [&](auto told) { made.set_value(std::move(told)); });
  const auto none = result(made);
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().detail.find("resolve no name: "), std::string::npos)
      << none.error().detail;
}

}  // namespace
}  // namespace apogee::remoting
