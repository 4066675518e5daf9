#pragma once

// For tests only: a client, a name server and two brokers that do as they are told, on a network
// inside this thread, under a clock that is moved by hand.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/producer_core.h"
#include "protocol/codes.h"
#include "remoting/server.h"
#include "testing/lone_client.h"

namespace apogee::client {

using remoting::Request;
namespace request = protocol::request_code;
namespace response = protocol::response_code;

constexpr const char* kNameServer = "10.0.0.1";

/// A server that keeps what it is asked, and answers as the test says.
class Scripted final : public remoting::RequestHandler {
 public:
  Scripted(testing::Network& network, const std::string& machine, std::uint16_t port, Clock& clock,
           FileSystem& files, Executor& workers, Random& random, Logger& log)
      : machine_{machine},
        env_{clock, files, network.machine(machine), workers, random, log},
        server_{*remoting::start_server(env_, {.listen_port = port}, *this)} {}

  std::function<void(const Request&)> answer;
  std::map<std::int32_t, int> asked;  // by code

  const std::string& machine() const { return machine_; }
  int sends() const {
    const auto found = asked.find(request::kSendMessageV2);
    return found == asked.end() ? 0 : found->second;
  }

 private:
  void on_requests(std::span<const Request> requests) override {
    for (const Request& each : requests) {
      ++asked[each.command.code];
      answer(each);
    }
  }

  const std::string machine_;
  Env env_;
  std::unique_ptr<remoting::Server> server_;
};

inline void store(const Request& request) {
  if (request.command.code != request::kSendMessageV2) return request.responder.reply(0);
  request.responder.reply(0, {},
                          protocol::SendMessageResponse{.message_id = "0A000002",
                                                        .queue_id = 0,
                                                        .queue_offset = 7,
                                                        .region = "DefaultRegion",
                                                        .trace_on = "true"});
}
/// Sends get this code, everything else success.
inline std::function<void(const Request&)> refuse(std::int32_t code) {
  return [code](const Request& request) {
    request.responder.reply(request.command.code == request::kSendMessageV2 ? code : 0, "no");
  };
}
inline void hang(const Request&) {}

class SendingRules : public LoneClient {
 protected:
  SendingRules() {
    name_server_ = serve(kNameServer, 9'876);
    name_server_->answer = [this](const Request& request) {
      if (request.command.code != request::kGetRouteInfoByTopic) return request.responder.reply(0);
      tell_route(request.responder);
    };
  }
  ~SendingRules() override {
    {
      // Inside a callback nobody waits for the brokers' answers, which cannot come here.
      const CallbackScope scope{CallbackScope::Where::kOwnThread};
      for (const auto& each : producers_) each->shutdown();
    }
    network_.run();
    producers_.clear();
    std::vector<std::string> servers;
    for (const Scripted* each : {name_server_.get(), a_.get(), b_.get()})
      if (each != nullptr) servers.push_back(each->machine());
    end_client(servers);
  }

  std::unique_ptr<Scripted> serve(const std::string& machine, std::uint16_t port) {
    return std::make_unique<Scripted>(network_, machine, port, clock_, *files_, workers_, random_,
                                      log_);
  }
  /// Brokers a and b, told of by the name server.
  void start_brokers() {
    a_ = serve("10.0.0.2", 10'911);
    b_ = serve("10.0.0.3", 10'911);
    a_->answer = b_->answer = store;
  }
  void tell_route(const remoting::Responder& to) {
    protocol::TopicRouteData route;
    for (const auto& [name, address] : brokers_) {
      route.broker_datas.push_back(
          {.broker_addresses = {{0, address}}, .broker_name = name, .cluster = "c"});
      route.queue_datas.push_back(
          {.broker_name = name, .read_queue_nums = 1, .write_queue_nums = 1});
    }
    to.reply(0, {}, protocol::NoFields{}, as_bytes(protocol::encode_body(route)));
  }
  Instance& client(ClientConfig config = {}) {
    if (instance_) return *instance_;
    config.name_servers = {std::string{kNameServer} + ":9876"};
    return start_client(std::move(config));
  }
  ProducerCore& producer(ProducerConfig config = {}) {
    return transactional({.producer = std::move(config)});
  }
  ProducerCore& transactional(TransactionalProducerConfig config) {
    client();
    config.producer.group = "g" + std::to_string(producers_.size());
    producers_.push_back(*ProducerCore::start(instance_, std::move(config)));
    return *producers_.back();
  }
  using Sent = std::shared_ptr<std::optional<Result<SendReceipt>>>;
  Sent send(ProducerCore& by, Mode mode, std::chrono::milliseconds timeout = 3s) {
    auto sent = std::make_shared<std::optional<Result<SendReceipt>>>();
    by.send({.topic = "orders", .body = "x"}, {}, mode, timeout,
            [sent](Result<SendReceipt> result) { sent->emplace(std::move(result)); });
    network_.run();
    return sent;
  }

  std::map<std::string, std::string> brokers_{{"a", "10.0.0.2:10911"}, {"b", "10.0.0.3:10911"}};
  std::unique_ptr<Scripted> name_server_, a_, b_;
  std::vector<std::shared_ptr<ProducerCore>> producers_;
};

}  // namespace apogee::client
