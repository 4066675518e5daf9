#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <apogee/client.h>

/// A suite of the C++ client that uses its public headers alone and runs against any broker. Cases
/// run on several threads at once; each has topics and groups of its own.
///
/// The systems of a RocketMQ client, and the cases of each. What one broker in good health cannot
/// show (other brokers, lost connections, time) is in the unit tests of src/client.
///
///   states, start, shutdown            "a stopped producer refuses", "a client is known ..."
///   groups                             "groups are checked", "a group exists once in a client"
///   client id, one client for all      "a client id is ...", "a client is known ..."
///   inner producer, retry, DLQ         "what failed comes again", "what fails too often ..."
///   heartbeats, as fingerprints too    "a client is known ...", "a consumer may send fingerprints"
///   name servers: set, by the          "one name server of several suffices",
///     environment, by HTTP             "the environment ...", "an address server ..."
///   routes, default topic              "a new topic gets ...", "no name server is an error ..."
///   route changes, queues, order       "a topic's queues are ...", "an order topic has ..."
///   broker addresses, namespaces       "an unknown broker is named", "a namespace stays outside"
///   modes, time-outs, back-pressure    "blocking ...", "sends with a callback ...", "awaited ...",
///                                      "oneway ...", "what is in flight has a bound"
///   compression, unique ids, hooks     "bodies compressed ...", "an id is made ...", "hooks ..."
///   VIP channel                        "the fast port takes messages"
///   queue choice, fault tolerance      "queues take turns", "a producer that avoids ..."
///   batches, gathered too              "a batch arrives ...", "messages gathered ..."
///   results, refusals                  "a send tells ...", "what the broker refuses ...",
///                                      "a body larger than the broker's limit is refused"
///   requests a broker of version 4     lite pull, division of queues and POP, run against one
///     does not know
///   offsets that are not there         "an offset beyond the queue's end is put right"
///   kinds of messages                  order, delay levels, timer, recall, request and reply,
///                                      transactions, tags, SQL92, broadcast, POP, trace: by name
namespace suite {

using namespace apogee;
using namespace std::chrono_literals;

/// Where the case runs and what it may use.
struct Context {
  std::string name_server, broker_address, cluster, version;  // version: apogee, apache, apache49
  std::string unique;                                         // part of every name this case makes
  bool old_broker() const { return version == "apache49"; }
  std::string topic(std::string_view what = "topic") const {
    return unique + "-" + std::string{what};
  }
  std::string group(std::string_view what = "group") const {
    return unique + "-" + std::string{what};
  }
  Client client(ClientConfig config = {}) const;
  /// Makes the topic by sending to it, as autoCreateTopicEnable allows.
  static void make_topic(Producer& producer, const std::string& topic);
};

struct Case {
  const char* name;
  void (*run)(const Context& context);
};
std::vector<Case> producing_cases();
std::vector<Case> consuming_cases();
std::vector<Case> pulling_cases();
std::vector<Case> administering_cases();

struct Failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The value, or the case fails with what was expected and what happened.
template <class T>
T need(Result<T> result, std::string_view what) {
  if (!result) throw Failed{std::string{what} + ": " + result.error().detail};
  return *std::move(result);
}
inline void need(bool good, const std::string& what) {
  if (!good) throw Failed{what};
}
template <class A, class B>
void same(const A& is, const B& wanted, std::string_view what) {
  if (is == wanted) return;
  if constexpr (requires {
                  std::to_string(is);
                  std::to_string(wanted);
                })
    throw Failed{std::string{what} + ": " + std::to_string(is) + ", not " + std::to_string(wanted)};
  else if constexpr (requires {
                       std::string{is};
                       std::string{wanted};
                     })
    throw Failed{std::string{what} + ": '" + std::string{is} + "', not '" + std::string{wanted} +
                 "'"};
  else
    throw Failed{std::string{what} + " differs"};
}
/// Fails with this code and words.
template <class T>
void refused(const Result<T>& result, Errc code, std::string_view words, std::string_view what) {
  if (result) throw Failed{std::string{what} + " was not refused"};
  if (result.error().code != code || result.error().detail.find(words) == std::string::npos)
    throw Failed{std::string{what} + ": " + name_of(result.error().code) + ": " +
                 result.error().detail};
}

/// Waits until `good` or the limit, a moment at a time: for what no call tells.
bool eventually(std::chrono::milliseconds limit, const std::function<bool()>& good);

/// A push consumer that keeps what it gets.
class Inbox {
 public:
  Inbox(Client& client, PushConsumerConfig config);
  Inbox(Client& client, const std::string& group, const std::string& topic, Filter filter = all());
  Inbox(const Inbox&) = delete;
  ~Inbox() { consumer_.reset(); }

  /// At least `count` messages, in the order they came; fails after `limit`.
  std::vector<ReceivedMessage> take(std::size_t count, std::chrono::milliseconds limit = 30s);
  /// One.
  ReceivedMessage one(std::chrono::milliseconds limit = 30s) { return take(1, limit).front(); }
  std::size_t count() const;
  PushConsumer& consumer() { return *consumer_; }
  void shutdown() { consumer_.reset(); }
  /// What each message comes to; set before the first arrives.
  void answer(std::function<Consumed(const ReceivedMessage&)> with);

 private:
  void start(Client& client, PushConsumerConfig config);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ReceivedMessage> messages_;
  std::function<Consumed(const ReceivedMessage&)> answer_;
  std::unique_ptr<PushConsumer> consumer_;
};

}  // namespace suite
