#pragma once

#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "apogee/admin.h"
#include "client/instance.h"
#include "client/timeouts.h"
#include "protocol/bodies.h"

/// One administrative call: all its requests share one deadline. Blocks. Lives on the caller's
/// stack.
namespace apogee::admin {

class Asking {
 public:
  using Answered = Result<remoting::OwnedCommand>;

  Asking(client::Instance& instance, std::chrono::milliseconds timeout)
      : instance_{instance}, deadline_{instance.env().clock.now() + client::countable(timeout)} {}

  client::Instance& instance() { return instance_; }
  /// Never less than a millisecond: whether it is enough, the request itself finds out.
  std::chrono::milliseconds left() const {
    return std::max(std::chrono::duration_cast<std::chrono::milliseconds>(
                        deadline_ - instance_.env().clock.now()),
                    std::chrono::milliseconds{1});
  }

  /// The success of a broker or of one name server; what it refuses is an error with its code.
  template <class Header>
  Answered server(const std::string& address, std::int32_t code, const Header& header,
                  Bytes body = {}, protocol::Language language = protocol::Language::kCpp) {
    return checked(address, raw(address, code, header, body, language));
  }
  /// Its answer, whatever the code.
  template <class Header>
  Answered raw(const std::string& address, std::int32_t code, const Header& header, Bytes body = {},
               protocol::Language language = protocol::Language::kCpp) {
    return begin(address, code, header, body, language).get();
  }
  /// The same, to be waited for: several servers can be asked at once.
  template <class Header>
  std::future<Answered> begin(const std::string& address, std::int32_t code, const Header& header,
                              Bytes body = {},
                              protocol::Language language = protocol::Language::kCpp) {
    auto promise = std::make_shared<std::promise<Answered>>();
    auto answer = promise->get_future();
    if (auto may = may_wait(); !may)
      promise->set_value(may.error());
    else
      instance_.call(
          address, code, header, body, left(),
          [promise](Answered answered) { promise->set_value(std::move(answered)); }, language);
    return answer;
  }
  /// The first name server that answers.
  template <class Header>
  Answered name_server(std::int32_t code, const Header& header) {
    if (auto may = may_wait(); !may) return may.error();
    std::promise<Answered> promise;
    instance_.ask_name_server(code, header, left(),
                              [&](Answered answer) { promise.set_value(std::move(answer)); });
    return checked("the name server", promise.get_future().get());
  }
  template <class Body, class Header>
  Result<Body> body_of(const std::string& address, std::int32_t code, const Header& header) {
    return decoded<Body>(server(address, code, header));
  }
  template <class Body, class Header>
  Result<Body> body_of_name_server(std::int32_t code, const Header& header) {
    return decoded<Body>(name_server(code, header));
  }
  template <class Header>
  Result<Ok> done_by(const std::string& address, std::int32_t code, const Header& header,
                     Bytes body = {}) {
    auto answer = server(address, code, header, body);
    if (!answer) return answer.error();
    return Ok{};
  }

  Result<protocol::ClusterInfo> clusters();
  Result<protocol::TopicRouteData> route(const std::string& topic);
  /// An address of each broker of a topic, the master's if there is one.
  Result<std::map<std::string, std::string>> brokers_of(const std::string& topic);
  Result<std::string> address_of(const MessageQueue& queue);
  /// Into the client's own table, for what looks there.
  Result<Ok> learn_route(const std::string& topic);

 private:
  template <class Body>
  static Result<Body> decoded(Answered answer) {
    if (!answer) return answer.error();
    return protocol::decode_body<Body>(std::string_view{answer->body});
  }
  Result<Ok> may_wait() const;
  static Answered checked(const std::string& who, Answered answer);

  client::Instance& instance_;
  const Clock::Instant deadline_;
};

inline Time time_of(std::int64_t unix_ms) {
  return Time{std::chrono::milliseconds{std::max<std::int64_t>(unix_ms, 0)}};
}
/// The address operators' questions go to: the master, else any.
std::string address_in(const std::map<std::int64_t, std::string>& addresses);
MessageQueue queue_of(const protocol::MessageQueue& queue);
QueueProgress progress_of(const protocol::MessageQueue& queue,
                          const protocol::OffsetWrapper& offsets);
/// MQVersion's name of an ordinal.
std::string version_name(std::int32_t ordinal);
/// "+a=b,-c" as brokers read changes of attributes.
std::string attributes_text(const std::map<std::string, std::string>& attributes);

}  // namespace apogee::admin
