#include "remoting/connection.h"

#include <atomic>
#include <random>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "remoting/client.h"
#include "remoting/processors.h"
#include "remoting/server.h"
#include "testing/echo.h"
#include "testing/network.h"
#include "testing/recording_logger.h"
#include "testing/turns.h"

namespace apogee::remoting {
namespace {

using ::testing::AllOf;
using testing::EchoRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Network;
using ::testing::SizeIs;
using testing::Turns;

struct Silent {
  static constexpr std::int32_t kCode = 7'002;
  static constexpr auto kFields = MemberList{};
};
struct Large {
  static constexpr std::int32_t kCode = 7'003;
  std::int32_t bytes = 0;
  using Self = Large;
  static constexpr auto kFields = MemberList{protocol::Field{"bytes", &Self::bytes}};
};

constexpr const char* kServer = "10.0.0.1";
constexpr const char* kClient = "10.0.0.2";

template <class Header>
Buffer frame_of(std::int32_t opaque, const Header& header, std::string_view body = {},
                std::int32_t flag = 0) {
  Buffer frame;
  protocol::encode_command(frame, {.code = Header::kCode, .opaque = opaque, .flag = flag}, header,
                           as_bytes(body));
  return frame;
}

/// A peer that speaks bytes: sends what it is told, keeps what it gets.
class RawPeer final : public StreamHandler {
 public:
  RawPeer(Network& network, const Endpoint& to) {
    network.machine(kClient).connect(to, 1s, [this](Result<std::unique_ptr<Stream>> stream) {
      if (!stream) return;
      stream_ = *std::move(stream);
      stream_->start(*this);
    });
    network.run();
  }
  void send(std::string_view bytes) {
    unsent_ += bytes;
    if (in_flight_.empty()) write();
  }
  void pause(bool paused) { stream_->pause_reading(paused); }
  void close() { stream_.reset(); }
  Endpoint local() const { return stream_->local(); }

  /// Opaques of the answers received so far, in order.
  std::vector<std::int32_t> answers() const {
    std::vector<std::int32_t> opaques;
    protocol::CommandDecoder decoder;
    Bytes rest = as_bytes(received);
    while (!rest.empty()) {
      const auto frame = protocol::decode_frame(rest);
      if (!frame || !*frame) break;
      const auto command = decoder.decode(**frame);
      opaques.push_back(command ? command->opaque : -1);
      rest = rest.subspan((*frame)->size);
    }
    return opaques;
  }

  std::string received;
  std::vector<std::size_t> reads;
  std::optional<Error> closed;

 private:
  void write() {
    in_flight_.swap(unsent_);
    const Bytes piece = as_bytes(in_flight_);
    stream_->write({&piece, 1});
  }
  MutableBytes read_space() override { return space_; }
  void on_read(std::size_t bytes) override {
    reads.push_back(bytes);
    received += as_text(Bytes{space_}.first(bytes));
  }
  void on_written() override {
    in_flight_.clear();
    if (!unsent_.empty()) write();
  }
  void on_closed(const Error& why) override { closed = why; }

  std::unique_ptr<Stream> stream_;
  std::vector<std::byte> space_ = std::vector<std::byte>(1 << 20);
  std::string unsent_, in_flight_;
};

/// Takes everything, and notes where it lay.
class Noting final : public Stream {
 public:
  Noting(Turns& loop, std::vector<const std::byte*>& places) : loop_{loop}, places_{places} {}
  Loop& loop() override { return loop_; }
  void start(StreamHandler& handler) override { handler_ = &handler; }
  void pause_reading(bool) override {}
  void write(std::span<const Bytes> buffers) override {
    for (const Bytes& each : buffers) places_.push_back(each.data());
    loop_.post([this] { handler_->on_written(); });
  }
  void close(Error why) override {
    loop_.post([this, why] { handler_->on_closed(why); });
  }
  Endpoint local() const override { return {kClient, 40'000}; }
  Endpoint remote() const override { return {kServer, 9'000}; }

 private:
  Turns& loop_;
  std::vector<const std::byte*>& places_;
  StreamHandler* handler_ = nullptr;
};

/// A server and a client on a network without sockets, in one thread.
class OneThread : public ::testing::Test {
 protected:
  OneThread() {
    testing::serve_echo(processors_);
    processors_.on_async<Silent>(
        [this](const Silent&, const Request& request) { held_.push_back(request.responder); });
    processors_.on<Large>([this](const Large& header, const Request&) {
      bytes_answered_ += static_cast<std::size_t>(header.bytes);
      return Answer::with_body(Buffer(static_cast<std::size_t>(header.bytes), 'x'));
    });
  }
  ~OneThread() override {
    // Nothing runs while a destructor waits: every stream ends first.
    held_.clear();
    network_.cut(kServer, kClient);
    network_.run();
  }

  void serve(ServerConfig config = {}) {
    config.listen_port = 9'000;
    server_ = *start_server(server_env_, config, processors_);
  }
  Client& client(ClientConfig config = {}) {
    if (!client_) client_ = make_client(client_env_, config, &processors_);
    return *client_;
  }
  template <class Header>
  std::shared_ptr<std::optional<Result<OwnedCommand>>> ask(const Header& header,
                                                           std::chrono::milliseconds timeout = 3s,
                                                           Buffer body = {}) {
    auto answer = std::make_shared<std::optional<Result<OwnedCommand>>>();
    client().call(kAddress, Header::kCode, header, std::move(body), timeout,
                  [answer](Result<OwnedCommand> result) { answer->emplace(std::move(result)); });
    return answer;
  }

  static constexpr const char* kAddress = "10.0.0.1:9000";
  const Endpoint at_{kServer, 9'000};
  testing::ManualClock clock_;
  Network network_{clock_};
  InlineExecutor workers_;
  Random random_{1};
  std::unique_ptr<FileSystem> files_ = make_posix_files();
  testing::RecordingLogger log_;
  Env server_env_{clock_, *files_, network_.machine(kServer), workers_, random_, log_};
  Env client_env_{clock_, *files_, network_.machine(kClient), workers_, random_, log_};
  Processors processors_{server_env_};
  std::vector<Responder> held_;
  std::size_t bytes_answered_ = 0;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(OneThread, CarriesCallsHoweverTheStreamIsCut) {
  serve();
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    network_.conditions() = {.delay = std::chrono::milliseconds{random() % 3},
                             .read_bytes_max = 1 + random() % 100,
                             .window_bytes = 1 + random() % 5'000};
    std::vector<Buffer> bodies(20);
    std::vector<std::shared_ptr<std::optional<Result<OwnedCommand>>>> answers;
    for (Buffer& body : bodies) {
      body.assign(random() % 10 == 0 ? random() % 5'000 : random() % 200,
                  static_cast<char>('a' + random() % 26));
      answers.push_back(ask(EchoRequest{std::to_string(body.size())}, 60s, body));
    }
    network_.advance(50s);
    for (std::size_t i = 0; i < bodies.size(); ++i) {
      ASSERT_TRUE(*answers[i]);
      ASSERT_TRUE(**answers[i]) << (**answers[i]).error().detail;
      EXPECT_EQ((**answers[i])->body, bodies[i]);
    }
  }
}

TEST_F(OneThread, TakesAllThatOtherThreadsAskWithOneWakeUp) {
  serve();
  (void)ask(EchoRequest{"first"});  // connects
  network_.run();
  std::atomic<int> answered{0};
  Client& asked = client();
  std::thread other{[&] {
    for (int i = 0; i < 100; ++i)
      asked.call(kAddress, EchoRequest::kCode, EchoRequest{std::to_string(i)}, {}, 3s,
                 [&answered, i](const Result<OwnedCommand>& answer) {
                   ASSERT_TRUE(answer) << answer.error().detail;
                   EXPECT_EQ(read_header<EchoRequest>(*answer)->text, std::to_string(i));
                   ++answered;
                 });
  }};
  other.join();
  network_.run();
  EXPECT_EQ(answered, 100);
}

TEST_F(OneThread, EndsWhatOtherThreadsAskOfAConnectionThatIsGone) {
  serve();
  (void)ask(EchoRequest{"first"});  // connects
  network_.run();
  std::optional<Result<OwnedCommand>> answer;
  Client& asked = client();
  network_.cut(kServer, kClient);
  std::thread{[&] {
    asked.call(kAddress, EchoRequest::kCode, EchoRequest{"late"}, {}, 3s,
               [&](Result<OwnedCommand> result) { answer.emplace(std::move(result)); });
  }}.join();
  network_.run();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error().code, Errc::kDisconnected);
}

TEST_F(OneThread, ForgetsItsOwnerWhenItsStreamHasClosed) {
  serve();
  auto owner = std::make_unique<ConnectionSet>();
  std::shared_ptr<Connection> connection;
  client_env_.network.connect(at_, 1s, [&](Result<std::unique_ptr<Stream>> stream) {
    ASSERT_TRUE(stream);
    connection = std::make_shared<Connection>(client_env_, *std::move(stream), ConnectionLimits{},
                                              processors_, *owner);
    connection->start();
  });
  network_.run();
  ASSERT_TRUE(connection);
  connection->close("enough");
  network_.run();
  EXPECT_EQ(owner->size(), 0u);
  std::optional<Errc> failure;
  const auto ask_from_elsewhere = [&] {
    std::thread{[&] {
      connection->call_frame(
          [](Buffer& out, std::int32_t opaque) { out += frame_of(opaque, EchoRequest{"late"}); },
          1s, [&](const Result<OwnedCommand>& answer) { failure = answer.error().code; });
    }}.join();
    network_.run();
  };
  ask_from_elsewhere();
  EXPECT_EQ(failure, Errc::kDisconnected);
  EXPECT_EQ(owner->unsent_bytes, 0u) << "what is never sent would count for ever";
  owner.reset();
  ask_from_elsewhere();
}

TEST_F(OneThread, HandsOnTheRequestsOfOneReadTogetherAndAnswersThemInOneWrite) {
  struct Batches final : RequestHandler {
    void on_requests(std::span<const Request> requests) override {
      sizes.push_back(requests.size());
      for (const Request& request : requests) request.responder.reply(0);
    }
    std::vector<std::size_t> sizes;
  } batches;
  auto server = *start_server(server_env_, {.listen_port = 9'001}, batches);
  RawPeer peer{network_, {kServer, 9'001}};
  Buffer burst;
  for (std::int32_t i = 1; i <= 5; ++i) burst += frame_of(i, EchoRequest{"x"});
  peer.send(burst);
  network_.run();
  EXPECT_THAT(batches.sizes, ElementsAre(5));
  EXPECT_THAT(peer.reads, SizeIs(1));
  EXPECT_THAT(peer.answers(), ElementsAre(1, 2, 3, 4, 5));
  peer.close();
  network_.run();
}

TEST_F(OneThread, EndsTenThousandCallsAtTheirDeadlineAndNoneBefore) {
  serve();
  int timeouts = 0;
  for (int i = 0; i < 10'000; ++i)
    client().call(kAddress, Silent::kCode, Silent{}, {}, 3s, [&](Result<OwnedCommand> answer) {
      if (!answer && answer.error().code == Errc::kTimeout) ++timeouts;
    });
  network_.advance(2'999ms);
  EXPECT_EQ(held_.size(), 10'000u);
  EXPECT_EQ(timeouts, 0);
  network_.advance(101ms);
  EXPECT_EQ(timeouts, 10'000);
  for (const Responder& each : held_) each.reply(0);  // too late: nobody waits for them
  network_.run();
  auto answer = ask(EchoRequest{"still there"});
  network_.run();
  ASSERT_TRUE(*answer);
  EXPECT_TRUE(**answer);
}

TEST_F(OneThread, FailsCallsInFlightWhenTheConnectionIsCut) {
  serve();
  auto first = ask(Silent{}, 60s), second = ask(Silent{}, 60s);
  network_.run();
  ASSERT_FALSE(*first);
  network_.cut(kServer, kClient);
  network_.run();
  for (const auto& answer : {first, second}) {
    ASSERT_TRUE(*answer);
    ASSERT_FALSE(**answer);
    EXPECT_EQ((**answer).error().code, Errc::kDisconnected);
  }
  auto third = ask(EchoRequest{"over a new connection"});
  network_.run();
  ASSERT_TRUE(*third);
  EXPECT_TRUE(**third);
}

TEST_F(OneThread, CountsConnectingAgainstTheDeadlineOfACall) {
  serve();
  network_.part(kServer, kClient);
  auto answer = ask(EchoRequest{"hello"}, 500ms);
  network_.advance(700ms);
  ASSERT_TRUE(*answer) << "a call outlives its deadline while connecting";
  ASSERT_FALSE(**answer);
  EXPECT_EQ((**answer).error().code, Errc::kTimeout);
  network_.heal();
  network_.advance(10s);
}

TEST_F(OneThread, EndsCallsThatWaitForAConnectionWhenTheClientGoes) {
  network_.part(kServer, kClient);
  auto answer = ask(EchoRequest{"hello"}, 60s);
  client().oneway(kAddress, Silent::kCode, Silent{}, {});
  network_.run();
  client_.reset();
  ASSERT_TRUE(*answer);
  ASSERT_FALSE(**answer);
  EXPECT_EQ((**answer).error().code, Errc::kStopped);
  network_.advance(10s);
}

TEST_F(OneThread, DeliversWhatWasHeldBackOnceANetworkHeals) {
  serve();
  auto before = ask(EchoRequest{"one"});
  network_.run();
  ASSERT_TRUE(*before);
  network_.part(kServer, kClient);
  auto during = ask(EchoRequest{"two"}, 10s);
  network_.advance(5s);
  EXPECT_FALSE(*during);
  network_.heal();
  network_.run();
  ASSERT_TRUE(*during);
  EXPECT_TRUE(**during);
}

TEST_F(OneThread, NamesARefusedConnection) {
  auto answer = ask(EchoRequest{"hello"});
  network_.run();
  ASSERT_TRUE(*answer);
  ASSERT_FALSE(**answer);
  EXPECT_EQ((**answer).error().code, Errc::kDisconnected);
  EXPECT_THAT((**answer).error().detail, HasSubstr(kAddress));
}

TEST_F(OneThread, IgnoresAnswersNobodyAskedFor) {
  serve();
  RawPeer peer{network_, at_};
  peer.send(frame_of(77, EchoRequest{"never asked"}, {}, protocol::kResponseFlag));
  peer.send(frame_of(78, EchoRequest{"asked"}));
  network_.run();
  EXPECT_THAT(peer.answers(), ElementsAre(78));
  EXPECT_FALSE(peer.closed);
}

TEST_F(OneThread, KeepsItsOwnCallsApartFromThePeersWithTheSameNumbers) {
  // Both sides number from the same start: every opaque is in use in both directions at once.
  std::vector<std::string> back;
  processors_.on_async_code<EchoRequest>(8'000, [&](const EchoRequest& h, const Request& request) {
    request.peer()->call(EchoRequest::kCode, h, {}, 3s,
                         [&, responder = request.responder](Result<OwnedCommand> answer) {
                           back.push_back(answer ? read_header<EchoRequest>(*answer)->text : "?");
                           responder.reply(0, back.back());
                         });
  });
  serve();
  std::vector<std::string> remarks;
  for (const char* text : {"a", "b", "c"})
    client().call(kAddress, 8'000, EchoRequest{text}, {}, 3s, [&](Result<OwnedCommand> answer) {
      remarks.push_back(answer ? answer->remark : answer.error().detail);
    });
  network_.run();
  EXPECT_THAT(back, ElementsAre("a", "b", "c"));
  EXPECT_THAT(remarks, ElementsAre("a", "b", "c"));
}

TEST_F(OneThread, WritesCallsIntoTheMemoryOfThoseBefore) {
  for (const std::size_t body_bytes : {128, 1'024, 2'048}) {
    SCOPED_TRACE(body_bytes);
    Turns loop;
    std::vector<const std::byte*> places;
    ConnectionSet connections;
    auto connection =
        std::make_shared<Connection>(client_env_, std::make_unique<Noting>(loop, places),
                                     ConnectionLimits{}, processors_, connections);
    connection->start();
    const Buffer body(body_bytes, 'x');
    const auto call_all = [&] {
      places.clear();
      for (int i = 0; i < 256; ++i)
        connection->call_frame(
            [&](Buffer& out, std::int32_t opaque) { out += frame_of(opaque, Silent{}, body); }, 3s,
            [](const Result<OwnedCommand>&) {});
      loop.run();
      return std::set(places.begin(), places.end());
    };
    std::set<const std::byte*> known = call_all();
    for (int i = 0; i < 10; ++i) known.merge(call_all());  // the largest is kept each time
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(std::ranges::includes(known, call_all()));
    connection->close("the end");
    loop.run();
  }
}

/// The near end of a stream: keeps what is written, and takes no more than `at_once` of what
/// another thread writes itself.
class Kept final : public Stream {
 public:
  Kept(Turns& loop, std::size_t at_once) : at_once_{at_once}, loop_{loop} {}
  Loop& loop() override { return loop_; }
  void start(StreamHandler& handler) override { handler_ = &handler; }
  void pause_reading(bool) override {}
  void write(std::span<const Bytes> buffers) override {
    for (const Bytes& each : buffers) written += as_text(each);
    loop_.post([this] { handler_->on_written(); });
  }
  std::size_t write_now(Bytes bytes) override {
    const Bytes taken = bytes.first(std::min(at_once_, bytes.size()));
    written += as_text(taken);
    return taken.size();
  }
  void close(Error why) override {
    loop_.post([this, why] { handler_->on_closed(why); });
  }
  Endpoint local() const override { return {kClient, 40'000}; }
  Endpoint remote() const override { return {kServer, 9'000}; }

  /// Answers all that was written; how many requests that were.
  std::size_t answer() {
    std::size_t requests = 0;
    protocol::CommandDecoder decoder;
    for (Bytes rest = as_bytes(written); !rest.empty(); ++requests) {
      const auto frame = *protocol::decode_frame(rest);
      if (!frame) break;
      const Buffer answer =
          frame_of(decoder.decode(*frame)->opaque, Silent{}, {}, protocol::kResponseFlag);
      rest = rest.subspan(frame->size);
      receive(answer);
    }
    written.clear();
    loop_.run();
    return requests;
  }
  void receive(const Buffer& bytes) {
    loop_.post([this, bytes] {
      std::ranges::copy(as_bytes(bytes), handler_->read_space().begin());
      handler_->on_read(bytes.size());
    });
  }

  std::string written;

 private:
  const std::size_t at_once_;
  Turns& loop_;
  StreamHandler* handler_ = nullptr;
};

/// A connection whose calls have each been answered before the next, and that is called again.
class CallsAlone : public OneThread {
 protected:
  void connect(std::size_t at_once, ConnectionLimits limits = {}) {
    auto stream = std::make_unique<Kept>(loop_, at_once);
    stream_ = stream.get();
    connection_ =
        std::make_shared<Connection>(client_env_, std::move(stream), limits, processors_, owner_);
    loop_.post([this] { connection_->start(); });
    for (int i = 0; i < 20; ++i) {  // until it is trusted to go on like that
      call();
      loop_.run();
      EXPECT_EQ(stream_->answer(), 1u);
      EXPECT_THAT(std::exchange(ended_, {}), ElementsAre(std::nullopt));
    }
  }
  ~CallsAlone() override {
    connection_->close("the end");
    loop_.run();
  }
  void call(std::chrono::milliseconds timeout = 3s) {
    connection_->call_frame(
        [](Buffer& out, std::int32_t opaque) { out += frame_of(opaque, EchoRequest{"x"}); },
        timeout,
        [this](const Result<OwnedCommand>& answer) {
          connected_at_end_ = connection_->connected();
          ended_.push_back(answer ? std::nullopt : std::optional{answer.error().code});
        });
  }

  static constexpr std::size_t kAll = 1 << 20;
  Turns loop_;
  ConnectionSet owner_;
  Kept* stream_ = nullptr;
  std::shared_ptr<Connection> connection_;
  std::vector<std::optional<Errc>> ended_;  // no code: answered
  bool connected_at_end_ = true;            // of the last
};

TEST_F(CallsAlone, AreWrittenByTheThreadThatCalls) {
  connect(kAll);
  for (int i = 0; i < 3; ++i) {
    call();
    EXPECT_EQ(connection_->unsent_bytes(), 0u) << "without the loop";
    EXPECT_EQ(stream_->answer(), 1u);
    EXPECT_THAT(std::exchange(ended_, {}), ElementsAre(std::nullopt));
  }
}

TEST_F(CallsAlone, AreOneAtATime) {
  connect(kAll);
  call();
  const std::size_t one = stream_->written.size();
  call();
  EXPECT_EQ(stream_->written.size(), one) << "the loop gathers what comes while one is under way";
  loop_.run();
  EXPECT_EQ(stream_->answer(), 2u);
  EXPECT_THAT(ended_, ElementsAre(std::nullopt, std::nullopt));
}

TEST_F(CallsAlone, GoOnWhereTheSystemTookAPart) {
  for (const std::size_t at_once : {0, 1, 20}) {
    connect(at_once);
    // Something of the loop's own, which it comes to before it learns of the rest.
    loop_.post([this] { connection_->send({frame_of(1'000, Silent{}), {}}); });
    call();
    EXPECT_EQ(stream_->written.size(), at_once);
    call();
    loop_.run();
    EXPECT_EQ(stream_->answer(), 3u) << "each of them whole";
    EXPECT_THAT(std::exchange(ended_, {}), ElementsAre(std::nullopt, std::nullopt));
    EXPECT_EQ(connection_->unsent_bytes(), 0u);
    connection_->close("the next");
    loop_.run();
  }
}

TEST_F(CallsAlone, EndAtTheirDeadline) {
  connect(kAll);
  call();
  connection_->sweep(clock_.now() + 3s, 60s);
  loop_.run();
  EXPECT_THAT(ended_, ElementsAre(Errc::kTimeout));
}

TEST_F(CallsAlone, TakeAConnectionWithThemOnWhichNothingElseCameEither) {
  connect(kAll);
  for (const auto timeout : {3s, 11s, 60s}) call(timeout);
  connection_->sweep(clock_.now() + 3s, 60s);
  loop_.run();
  EXPECT_TRUE(connection_->connected()) << "it may be slow with one call";
  connection_->sweep(clock_.now() + 11s, 60s);
  loop_.run();
  EXPECT_THAT(ended_, ElementsAre(Errc::kTimeout, Errc::kTimeout, Errc::kDisconnected));
  EXPECT_FALSE(connected_at_end_) << "who tries again should not get it";
  EXPECT_FALSE(connection_->connected());
}

TEST_F(CallsAlone, LeaveAConnectionThatIsHeardOf) {
  connect(kAll);
  for (const auto timeout : {3s, 11s}) call(timeout);
  connection_->sweep(clock_.now() + 3s, 60s);
  loop_.run();
  stream_->receive(frame_of(1, Silent{}));
  loop_.run();
  connection_->sweep(clock_.now() + 11s, 60s);
  loop_.run();
  EXPECT_THAT(ended_, ElementsAre(Errc::kTimeout, Errc::kTimeout));
  EXPECT_TRUE(connection_->connected());
}

TEST_F(CallsAlone, LeaveAConnectionWhosePeerPausesForSeconds) {
  connect(kAll);
  for (const auto timeout : {1s, 3s, 5s}) call(timeout);
  for (const auto after : {1s, 3s, 5s}) {
    connection_->sweep(clock_.now() + after, 60s);
    loop_.run();
  }
  EXPECT_EQ(ended_.size(), 3U);
  EXPECT_TRUE(connection_->connected()) << "what it has read is not sent twice";
}

TEST_F(CallsAlone, AreNoSignOfADeadPathWhileTheLoopIsHeldUp) {
  connect(kAll);
  for (const auto timeout : {3s, 11s}) call(timeout);
  connection_->sweep(clock_.now() + 3s, 60s);
  connection_->sweep(clock_.now() + 11s, 60s);
  clock_.advance(20s);
  loop_.run();
  EXPECT_TRUE(connection_->connected()) << "answers may lie in the socket";
}

TEST_F(CallsAlone, OfAServerLeaveItsClients) {
  connect(kAll, {.max_silence = Clock::Duration::max()});
  call();
  connection_->sweep(clock_.now() + 3s, 60s);
  loop_.run();
  EXPECT_THAT(ended_, ElementsAre(Errc::kTimeout));
  EXPECT_TRUE(connection_->connected());
}

TEST_F(CallsAlone, EndWithTheirConnection) {
  connect(kAll);
  call();
  connection_->close("cut");
  loop_.run();
  EXPECT_THAT(ended_, ElementsAre(Errc::kDisconnected));
  call();
  loop_.run();
  EXPECT_THAT(ended_, ElementsAre(Errc::kDisconnected, Errc::kDisconnected));
}

TEST_F(OneThread, StopsReadingFromAPeerThatDoesNotRead) {
  serve({.max_unsent_bytes = 1 << 20});
  RawPeer slow{network_, at_};
  RawPeer other{network_, at_};
  slow.pause(true);
  constexpr std::int32_t kRequests = 2'000;
  for (std::int32_t i = 1; i <= kRequests; ++i) slow.send(frame_of(i, Large{32 << 10}));
  network_.run();
  EXPECT_FALSE(slow.closed) << slow.closed->detail;
  other.send(frame_of(1, EchoRequest{"others are served"}));
  network_.run();
  EXPECT_THAT(other.answers(), SizeIs(1));
  slow.pause(false);
  network_.run();
  EXPECT_FALSE(slow.closed);
  const auto answers = slow.answers();
  ASSERT_EQ(answers.size(), static_cast<std::size_t>(kRequests));
  EXPECT_TRUE(std::is_sorted(answers.begin(), answers.end()));
  EXPECT_THAT(log_.lines(LogLevel::kWarn), SizeIs(0));
}

TEST_F(OneThread, GivesEachSlowPeerOneAnswerAtATimeOnceTooMuchWaitsForAll) {
  constexpr std::int32_t kAnswer = 32 << 10, kRequests = 100;
  constexpr std::size_t kPeers = 50;
  serve({.max_unsent_bytes = 1 << 20, .max_unsent_bytes_of_all = 4 << 20});
  network_.conditions() = {.window_bytes = 4 << 10};
  std::vector<std::unique_ptr<RawPeer>> slow;
  for (std::size_t i = 0; i < kPeers; ++i) {
    slow.push_back(std::make_unique<RawPeer>(network_, at_));
    slow.back()->pause(true);
    for (std::int32_t request = 1; request <= kRequests; ++request)
      slow.back()->send(frame_of(request, Large{kAnswer}));
  }
  network_.run();
  RawPeer other{network_, at_};
  for (std::int32_t i = 1; i <= 20; ++i) other.send(frame_of(i, Large{kAnswer}));
  network_.run();
  EXPECT_THAT(other.answers(), SizeIs(20)) << "who reads is served";
  // What the server holds: what it was asked for before it was crowded, then an answer each.
  EXPECT_LT(bytes_answered_, (5 << 20) + (kPeers + 20) * static_cast<std::size_t>(kAnswer));
  for (const auto& each : slow) each->pause(false);
  network_.run();
  for (const auto& each : slow) {
    EXPECT_FALSE(each->closed);
    EXPECT_THAT(each->answers(), SizeIs(kRequests));
  }
}

TEST_F(OneThread, ClosesAPeerThatLetsAnswersPileUp) {
  serve({.max_unsent_bytes = 1 << 20});
  RawPeer slow{network_, at_};
  slow.pause(true);
  for (std::int32_t i = 1; i <= 100; ++i) slow.send(frame_of(i, Silent{}));
  network_.run();
  ASSERT_EQ(held_.size(), 100u);
  for (const Responder& each : held_)
    each.reply(0, {}, protocol::NoFields{}, as_bytes(std::string(32 << 10, 'x')));
  network_.run();
  EXPECT_EQ(server_->connections(), 0u);
  EXPECT_THAT(log_.lines(LogLevel::kWarn), ElementsAre(HasSubstr("does not read")));
}

TEST_F(OneThread, ClosesIdleConnectionsAndNoOthers) {
  serve({.idle_seconds = 10});
  RawPeer idle{network_, at_}, busy{network_, at_};
  for (std::int32_t second = 1; second <= 11; ++second) {
    busy.send(frame_of(second, EchoRequest{"here"}));
    network_.advance(1s);
  }
  EXPECT_TRUE(idle.closed);
  EXPECT_FALSE(busy.closed);
  EXPECT_EQ(server_->connections(), 1u);
}

TEST_F(OneThread, RefusesConnectionsAboveTheLimit) {
  serve({.max_connections = 2});
  RawPeer first{network_, at_}, second{network_, at_}, third{network_, at_};
  network_.run();
  EXPECT_TRUE(third.closed);
  EXPECT_THAT(log_.lines(LogLevel::kWarn), ElementsAre(HasSubstr("serverMaxConnections")));
  first.close();
  network_.run();
  RawPeer fourth{network_, at_};
  fourth.send(frame_of(4, EchoRequest{"room again"}));
  network_.run();
  EXPECT_THAT(fourth.answers(), ElementsAre(4));
}

TEST_F(OneThread, SendsWhatIsAnsweredBeforeItCloses) {
  ConnectionSet connections;
  std::shared_ptr<Connection> connection;
  auto listener =
      *server_env_.network.listen({kServer, 9'002}, [&](std::unique_ptr<Stream> stream) {
        connection = std::make_shared<Connection>(server_env_, std::move(stream),
                                                  ConnectionLimits{}, processors_, connections);
        connection->start();
      });
  RawPeer peer{network_, {kServer, 9'002}};
  peer.send(frame_of(1, Silent{}) + frame_of(2, Large{1 << 20}) + frame_of(3, Silent{}));
  network_.run();
  peer.pause(true);
  peer.received.clear();
  held_[0].reply(0, {}, protocol::NoFields{}, as_bytes(std::string(1 << 20, 'y')));
  connection->close_when_sent("the server stops");
  network_.run();
  peer.pause(false);
  network_.run();
  EXPECT_THAT(peer.answers(), ElementsAre(1));
  EXPECT_TRUE(peer.closed);
  EXPECT_EQ(connections.size(), 0u);
  held_[1].reply(0);  // into the void
  connection.reset();
}

/// Bytes that are no request, and what the log says about them.
struct Hostile {
  const char* name;
  std::string bytes;
  const char* words;
};
Buffer raw_frame(std::uint32_t length, std::uint32_t header_word, std::string_view rest = {}) {
  Buffer bytes;
  append_big(bytes, length);
  append_big(bytes, header_word);
  return bytes + std::string{rest};
}

TEST_F(OneThread, EndsOnlyTheConnectionOfABadFrameAndSaysSoOnce) {
  serve({.max_frame_bytes = 1 << 20, .max_header_bytes = 64 << 10});
  const std::vector<Hostile> all{
      {"negative length", raw_frame(0xFFFF'FFF0, 0), "length"},
      {"zero length", raw_frame(0, 0), "length"},
      {"giant length", raw_frame(1u << 30, 10), "length"},
      {"header longer than its frame", raw_frame(20, 500), "header"},
      {"header beyond the limit", raw_frame(1 << 19, 1 << 18), "header"},
      {"no JSON", raw_frame(9, 5, "hello"), ""},
      {"unknown serialization", raw_frame(9, 0x0700'0005, "{\"a\":"), ""},
      {"HTTP", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "length"},
  };
  RawPeer good{network_, at_};
  std::int32_t opaque = 0;
  for (const Hostile& hostile : all) {
    SCOPED_TRACE(hostile.name);
    const std::size_t lines = log_.lines(LogLevel::kWarn).size();
    RawPeer peer{network_, at_};
    const std::string from = to_string(peer.local());
    peer.send(hostile.bytes);
    network_.run();
    EXPECT_TRUE(peer.closed);
    const auto warnings = log_.lines(LogLevel::kWarn);
    ASSERT_EQ(warnings.size(), lines + 1);
    EXPECT_THAT(warnings.back(),
                AllOf(HasSubstr(from), HasSubstr("bad frame"), HasSubstr(hostile.words)));
    good.send(frame_of(++opaque, EchoRequest{"fine"}));
    network_.run();
    EXPECT_EQ(good.answers().size(), static_cast<std::size_t>(opaque));
  }
}

TEST_F(OneThread, KnowsThePeerByTheNameItsBalancerGives) {
  serve();
  for (const std::string& header :
       {std::string{"PROXY TCP4 10.1.2.3 10.9.9.9 8080 9000\r\n"},
        std::string{
            "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x0a\x09\x09\x09\x1f\x90\x23\x28",
            28}}) {
    RawPeer peer{network_, at_};
    for (const char each : header) {  // byte by byte
      peer.send({&each, 1});
      network_.run();
    }
    peer.send(frame_of(1, EchoRequest{"behind it"}));
    network_.run();
    EXPECT_THAT(peer.answers(), ElementsAre(1));
    peer.send(raw_frame(0, 0));
    network_.run();
    EXPECT_THAT(log_.lines(LogLevel::kWarn).back(), HasSubstr("peer=10.1.2.3:8080"));
  }
  RawPeer liar{network_, at_};
  liar.send("PROXY TCP4 nobody nowhere 1 2\r\n");
  network_.run();
  EXPECT_TRUE(liar.closed);
}

TEST_F(OneThread, AnswersWhatCameBeforeABadFrame) {
  serve();
  RawPeer peer{network_, at_};
  peer.send(frame_of(1, EchoRequest{"good"}) + raw_frame(0, 0));
  network_.run();
  EXPECT_THAT(peer.answers(), ElementsAre(1));
  EXPECT_TRUE(peer.closed);
}

/// A server's connections with little room for frames that are not whole, swept by hand.
class Unfinished : public OneThread {
 protected:
  static constexpr std::size_t kMost = 2 << 20;

  Unfinished() {
    listener_ = *server_env_.network.listen(here_, [this](std::unique_ptr<Stream> stream) {
      std::make_shared<Connection>(server_env_, std::move(stream),
                                   ConnectionLimits{.max_unfinished_bytes_of_all = kMost},
                                   processors_, connections_)
          ->start();
    });
  }
  ~Unfinished() override {
    for (const auto& each : connections_.all()) each->close("the test is over");
    network_.run();
    EXPECT_EQ(connections_.size(), 0u);
    EXPECT_EQ(connections_.unfinished_bytes, 0u);
  }
  /// A peer that announces 10 MiB and sends three.
  std::unique_ptr<RawPeer> hoarder() {
    auto peer = std::make_unique<RawPeer>(network_, here_);
    peer->send(raw_frame(10 << 20, 10, std::string(3 << 20, 'x')));
    return peer;
  }
  void sweep() {
    connections_.limit_unfinished(kMost);
    network_.run();
    for (const auto& each : connections_.all()) each->sweep(clock_.now(), 1h);
    network_.run();
  }

  const Endpoint here_{kServer, 9'003};
  ConnectionSet connections_;
  std::unique_ptr<Listener> listener_;
};

TEST_F(Unfinished, FramesOfAllPeersTogetherAreBoundedAndSmallOnesServed) {
  std::vector<std::unique_ptr<RawPeer>> hoarders;
  for (int i = 0; i < 20; ++i) hoarders.push_back(hoarder());
  network_.run();
  EXPECT_GT(connections_.unfinished_bytes, kMost);
  EXPECT_LT(connections_.unfinished_bytes, 5 * kMost) << "20 of them want 4 MiB each";
  RawPeer other{network_, here_};
  other.send(frame_of(1, EchoRequest{"small"}));
  network_.run();
  EXPECT_THAT(other.answers(), SizeIs(1));
  connections_.limit_unfinished(kMost);
  network_.run();
  EXPECT_LE(connections_.unfinished_bytes, kMost);
  const auto closed = log_.lines(LogLevel::kWarn);
  ASSERT_THAT(closed, ::testing::Not(SizeIs(0)));
  EXPECT_THAT(closed, ::testing::Each(AllOf(HasSubstr("connection closed: peer=10.0.0.2"),
                                            HasSubstr("serverMaxUnfinishedBytesOfAll"))));
  other.send(frame_of(2, EchoRequest{"large"}, std::string(300'000, 'x')));
  network_.run();
  EXPECT_THAT(other.answers(), SizeIs(2)) << "there is room again";
}

TEST_F(Unfinished, LargeFramesAreReadOnOnceThereIsRoom) {
  auto hoarding = hoarder();
  network_.run();
  RawPeer honest{network_, here_};
  honest.send(frame_of(1, EchoRequest{"large"}, std::string(300'000, 'x')));
  network_.run();
  EXPECT_THAT(honest.answers(), SizeIs(0));
  sweep();
  EXPECT_TRUE(hoarding->closed) << "it has the most";
  EXPECT_THAT(honest.answers(), SizeIs(1));
}

TEST_F(OneThread, ClosesAPeerThatNeverFinishesItsFrameAndWaitsForASlowOne) {
  serve();
  RawPeer stuck{network_, at_}, slow{network_, at_};
  const Buffer frame = frame_of(1, EchoRequest{"over a slow line"}, std::string(4 << 20, 'x'));
  constexpr std::size_t kASecond = ConnectionLimits::kFrameBytesPerSecond + 1'000;
  stuck.send(raw_frame(1 << 20, 10));
  std::size_t sent = 0;
  for (int second = 0; second < 150; ++second) {
    slow.send(std::string_view{frame}.substr(sent, kASecond));
    sent += kASecond;
    if (second % 10 == 0 && !stuck.closed) stuck.send("x");
    network_.advance(1s);
    ASSERT_EQ(stuck.closed.has_value(), second > 59) << second;
  }
  EXPECT_TRUE(stuck.closed);
  EXPECT_THAT(log_.lines(LogLevel::kWarn), ElementsAre(HasSubstr("of a frame in 60 s")));
  EXPECT_FALSE(slow.closed);
  slow.send(std::string_view{frame}.substr(sent));
  network_.run();
  EXPECT_THAT(slow.answers(), ElementsAre(1));
}

}  // namespace
}  // namespace apogee::remoting
