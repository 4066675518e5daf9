#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "remoting/client.h"
#include "testing/lone_client.h"

/// A client that has its name servers from an HTTP server, under a clock that is moved by hand.
namespace apogee::client {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Answers every request with the same bytes and ends the connection, or does not.
class HttpServer {
 public:
  HttpServer(Transport& network, std::uint16_t port)
      : listener_{*network.listen({"0.0.0.0", port}, [this](std::unique_ptr<Stream> stream) {
          served_.push_back(std::make_unique<Serving>(*this, std::move(stream)));
        })} {}

  void answer(const std::string& body) {
    answer_with("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                body);
  }
  void answer_with(std::string bytes) { answer_ = std::move(bytes); }
  void hang() { hangs_ = true; }
  int asked() const { return asked_; }
  const std::string& request() const { return request_; }
  std::uint16_t port() const { return listener_->local().port; }
  std::size_t open() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(served_, [](const auto& each) { return each->open(); }));
  }

 private:
  class Serving final : public StreamHandler {
   public:
    Serving(HttpServer& server, std::unique_ptr<Stream> stream)
        : server_{server}, stream_{std::move(stream)} {
      stream_->start(*this);
    }
    bool open() const { return stream_ != nullptr; }

   private:
    MutableBytes read_space() override { return space_; }
    void on_read(std::size_t bytes) override {
      request_ += as_text(Bytes{space_}.first(bytes));
      if (!request_.ends_with("\r\n\r\n")) return;
      ++server_.asked_;
      server_.request_ = request_;
      if (server_.hangs_) return;
      answer_ = server_.answer_;
      const Bytes piece = as_bytes(answer_);
      stream_->write({&piece, 1});
    }
    void on_written() override { stream_->close(Error{Errc::kStopped, "answered"}); }
    void on_closed(const Error&) override { stream_.reset(); }

    HttpServer& server_;
    std::unique_ptr<Stream> stream_;
    std::vector<std::byte> space_ = std::vector<std::byte>(1'000);
    std::string request_, answer_;
  };

  std::string answer_, request_;
  bool hangs_ = false;
  int asked_ = 0;
  std::vector<std::unique_ptr<Serving>> served_;
  std::unique_ptr<Listener> listener_;
};

class AddressServer : public LoneClient {
 protected:
  ~AddressServer() override { end_client({"10.0.0.1"}); }
  Instance& client(ClientConfig config = {}) {
    config.name_server_domain = "10.0.0.1";
    return start_client(std::move(config));
  }
  std::vector<std::string> name_servers() { return instance_->name_servers().all(); }
  /// From a client that knows a name server already.
  void expect_refused(const std::string& answer, const std::string& reason) {
    http_.answer("10.0.0.2:9876");
    client();
    ASSERT_THAT(name_servers(), ElementsAre("10.0.0.2:9876"));
    http_.answer_with(answer);
    network_.advance(10s);
    EXPECT_EQ(http_.asked(), 2);
    EXPECT_THAT(name_servers(), ElementsAre("10.0.0.2:9876")) << "what is known stays";
    EXPECT_THAT(log_.lines(LogLevel::kWarn), Contains(HasSubstr(reason)));
    EXPECT_EQ(http_.open(), 0U);
  }

  HttpServer http_{network_.machine("10.0.0.1"), 8'080};
};

TEST_F(AddressServer, IsAskedAtTheStartThenAfterTenSecondsAndEveryTwoMinutes) {
  http_.answer("\n10.0.0.2:9876;10.0.0.3:9876\nnothing else counts\n");
  client();
  EXPECT_THAT(http_.request(), HasSubstr("GET /rocketmq/nsaddr HTTP/1.0\r\nHost: 10.0.0.1\r\n"));
  EXPECT_THAT(name_servers(), ElementsAre("10.0.0.2:9876", "10.0.0.3:9876"));
  network_.advance(9'999ms);
  EXPECT_EQ(http_.asked(), 1);
  network_.advance(1ms);
  EXPECT_EQ(http_.asked(), 2);
  network_.advance(119'999ms);
  EXPECT_EQ(http_.asked(), 2);
  http_.answer("10.0.0.4:9876");
  network_.advance(1ms);
  EXPECT_EQ(http_.asked(), 3);
  EXPECT_THAT(name_servers(), ElementsAre("10.0.0.4:9876"));
}

TEST_F(AddressServer, IsNotAskedByAClientThatWasGivenNameServers) {
  http_.answer("10.0.0.2:9876");
  client({.name_servers = {"10.0.0.7:9876"}});
  network_.advance(5min);
  EXPECT_EQ(http_.asked(), 0);
  EXPECT_THAT(name_servers(), ElementsAre("10.0.0.7:9876"));
}

TEST_F(AddressServer, IsNotAskedByAClientWhoseEnvironmentNamesNameServers) {
  ::setenv("NAMESRV_ADDR", "10.0.0.7:9876", 1);
  http_.answer("10.0.0.2:9876");
  client();
  ::unsetenv("NAMESRV_ADDR");
  network_.advance(5min);
  EXPECT_EQ(http_.asked(), 0);
  EXPECT_THAT(name_servers(), ElementsAre("10.0.0.7:9876"));
}

TEST_F(AddressServer, IsNotAskedAnyMoreOnceTheProgramHasNamedNameServers) {
  http_.answer("10.0.0.2:9876");
  ASSERT_TRUE(client().use_name_servers({"10.0.0.7:9876"}));
  network_.advance(5min);
  EXPECT_EQ(http_.asked(), 1);
  EXPECT_THAT(name_servers(), ElementsAre("10.0.0.7:9876"));
}

TEST_F(AddressServer, IsAskedForTheNameServersOfAUnit) {
  http_.answer("10.0.0.2:9876");
  client({.unit_name = "eu"});
  EXPECT_THAT(http_.request(), HasSubstr("GET /rocketmq/nsaddr-eu?nofix=1 HTTP/1.0\r\n"));
}

TEST(AddressServerOfARealClient, IsWaitedForSoThatTheFirstSendKnowsWhomToAsk) {
  const auto network = remoting::make_transport(1);
  std::optional<HttpServer> http{std::in_place, *network, std::uint16_t{0}};
  http->answer("127.0.0.1:9");
  const auto client =
      Client::start({.name_server_domain = "127.0.0.1:" + std::to_string(http->port())});
  ASSERT_TRUE(client);
  EXPECT_THAT(client->instance()->name_servers().all(), ElementsAre("127.0.0.1:9"));
  EXPECT_EQ(http->asked(), 1);
}

TEST_F(AddressServer, ThatNamesNobodyChangesNothing) {
  expect_refused("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\n", "names no name server");
}

TEST_F(AddressServer, IsNotBelievedWhenItAnswersAnErrorOrNotInHttp) {
  expect_refused("HTTP/1.1 404 Not Found\r\n\r\n10.6.6.6:9876", "10.0.0.1 answers HTTP/1.1 404");
}
TEST_F(AddressServer, IsNotBelievedWhenItSpeaksSomethingElse) {
  expect_refused("220 mail.example\r\n\r\n10.6.6.6:9876", "10.0.0.1 answers 220 mail.example");
}
TEST_F(AddressServer, IsNotBelievedWhenItEndsInItsHead) {
  expect_refused("HTTP/1.1 200 OK\r\nServer", "10.0.0.1 answers HTTP/1.1 200 OK");
}
TEST_F(AddressServer, IsNotBelievedWhenItEndsInTheMiddle) {
  expect_refused("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n10.0.0.2:98", "only a part");
}
TEST_F(AddressServer, IsNotBelievedWhenItSaysTooMuch) {
  expect_refused("HTTP/1.1 200 OK\r\n\r\n10.6.6.6:9876\n" + std::string(100'000, 'x'),
                 "the answer is too long");
}

TEST_F(AddressServer, ThatDoesNotAnswerIsLeftAfterThreeSeconds) {
  http_.hang();
  client();
  EXPECT_EQ(http_.open(), 1U);
  network_.advance(2'999ms);
  EXPECT_EQ(http_.open(), 1U);
  network_.advance(1ms);
  EXPECT_EQ(http_.open(), 0U);
  EXPECT_THAT(log_.lines(LogLevel::kWarn), Contains(HasSubstr("no answer in time")));
  EXPECT_THAT(name_servers(), IsEmpty());
}

}  // namespace
}  // namespace apogee::client
