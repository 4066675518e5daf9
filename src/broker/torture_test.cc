#include <filesystem>
#include <fstream>
#include <future>
#include <random>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/executor.h"
#include "broker/broker.h"
#include "protocol/headers.h"
#include "protocol/message.h"
#include "remoting/client.h"
#include "testing/recording_logger.h"

/// Peers that lie, dawdle, flood and vanish, on real sockets against a whole broker. After each of
/// them an honest client is served within its deadline, and at the end all it sent is there.
namespace apogee::broker {
namespace {

namespace request_code = protocol::request_code;
using namespace std::literals;

/// A socket that writes what it is told and reads what it gets.
class RawSocket {
 public:
  explicit RawSocket(const Endpoint& to) : fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(to.port);
    inet_pton(AF_INET, to.host.c_str(), &address.sin_addr);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  RawSocket(RawSocket&& other) noexcept
      : fd_{std::exchange(other.fd_, -1)}, connected_{other.connected_} {}
  RawSocket& operator=(RawSocket&&) = delete;
  ~RawSocket() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool connected() const { return connected_; }
  /// False: the other side has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  /// What comes until the peer closes, `enough` bytes are there or `limit` has passed.
  std::string receive(std::size_t enough, std::chrono::milliseconds limit) {
    std::string all;
    const auto end = std::chrono::steady_clock::now() + limit;
    while (all.size() < enough) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          end - std::chrono::steady_clock::now());
      pollfd wait{fd_, POLLIN, 0};
      if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) <= 0) break;
      char buffer[4'096];
      const auto n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) {
        closed_ = true;
        break;
      }
      all.append(buffer, static_cast<std::size_t>(n));
    }
    return all;
  }
  bool closed_by_peer(std::chrono::milliseconds limit = 5s) {
    receive(1 << 20, limit);
    return closed_;
  }
  void reset() {  // RST instead of FIN
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
  bool connected_ = false, closed_ = false;
};

std::string frame(std::uint32_t length, std::uint32_t header_word, std::string_view rest) {
  Buffer bytes;
  append_big(bytes, length);
  append_big(bytes, header_word);
  return std::string{bytes} + std::string{rest};
}
/// A well-formed frame around a JSON header that may be anything.
std::string json_frame(std::string_view json, std::string_view body = {}) {
  return frame(static_cast<std::uint32_t>(4 + json.size() + body.size()),
               static_cast<std::uint32_t>(json.size()), std::string{json} + std::string{body});
}

std::size_t resident_bytes() {
  std::ifstream status{"/proc/self/statm"};
  std::size_t total = 0, resident = 0;
  status >> total >> resident;
  return resident * 4'096;
}

class Torture : public ::testing::Test {
 protected:
  Torture()
      : root_{(std::filesystem::path{::testing::TempDir()} /
               ("apogee-torture-" + std::to_string(::getpid()) + "-" +
                ::testing::UnitTest::GetInstance()->current_test_info()->name()))
                  .string()} {
    std::filesystem::remove_all(root_);
    BrokerSetup setup;
    setup.broker.broker_ip1 = "127.0.0.1";
    setup.store.root = root_;
    setup.store.commit_log_file_bytes = 4 << 20;
    setup.server.listen_port = -1;
    setup.server.bind_address = "127.0.0.1";
    auto started = Broker::start(env_, setup);
    EXPECT_TRUE(started) << started.error().detail;
    broker_ = *std::move(started);
    honest_ = remoting::make_client(env_, {});
    serves();
  }
  ~Torture() override {
    serves();
    for (int i = 0; i < 5'000 && stored() < sent_; ++i) std::this_thread::yield();  // dispatched
    EXPECT_EQ(stored(), sent_);
    honest_.reset();
    broker_.reset();
    std::filesystem::remove_all(root_);
  }

  RawSocket raw() { return RawSocket{broker_->local()}; }

  /// The honest client's message is taken, in time.
  void serves() {
    protocol::SendMessageV2 header;
    header.producer_group = "honest";
    header.topic = "honest";
    header.default_topic = "TBW102";
    header.default_topic_queue_nums = 1;
    header.queue_id = 0;
    std::promise<Result<remoting::OwnedCommand>> done;
    honest_->call_frame(
        to_string(broker_->local()),
        [&](Buffer& out, std::int32_t opaque) {
          protocol::encode_command(out, {.code = request_code::kSendMessageV2, .opaque = opaque},
                                   header, as_bytes("honest"sv));
        },
        5s, [&](auto answer) { done.set_value(std::move(answer)); });
    const auto answer = done.get_future().get();
    ASSERT_TRUE(answer) << answer.error().detail;
    ASSERT_EQ(answer->code, 0) << answer->remark;
    ++sent_;
  }
  std::int64_t stored() {
    auto answer =
        honest_->call_and_wait(to_string(broker_->local()), request_code::kGetMaxOffset,
                               protocol::QueueRequest{.topic = "honest", .queue_id = 0}, {}, 5s);
    if (!answer) return -1;
    const auto header = remoting::read_header<protocol::OffsetResponse>(*answer);
    return header ? header->offset : -1;
  }

  const std::string root_;
  std::unique_ptr<Clock> clock_ = make_system_clock();
  std::unique_ptr<FileSystem> files_ = make_posix_files();
  std::unique_ptr<Transport> network_ = remoting::make_transport(2);
  std::unique_ptr<Executor> workers_ = make_thread_pool(2, "work");
  Random random_{1};
  testing::RecordingLogger log_;
  Env env_{*clock_, *files_, *network_, *workers_, random_, log_};
  std::unique_ptr<Broker> broker_;
  std::unique_ptr<remoting::Client> honest_;
  std::int64_t sent_ = 0;
};

TEST_F(Torture, FramesThatAreNoneCostTheirConnectionAlone) {
  std::string deep = R"({"code":310,"flag":0,"opaque":1,"extFields":)";
  for (int i = 0; i < 20'000; ++i) deep += "{\"a\":";
  std::string arrays = R"({"code":310,"opaque":1,"extFields":)" + std::string(100'000, '[');
  const std::vector<std::pair<const char*, std::string>> all{
      {"a negative length", frame(0xFFFF'FFFF, 0, "")},
      {"a length of zero", frame(0, 0, "")},
      {"a length of 2 GiB", frame(0x7FFF'FFFF, 100, "{}")},
      {"a header longer than its frame", frame(40, 1'000, std::string(36, ' '))},
      {"a header of 16 MiB less one", frame(8 << 20, 0x00FF'FFFF, "{")},
      {"objects a hundred thousand deep", json_frame(deep)},
      {"arrays a hundred thousand deep", json_frame(arrays)},
      {"text that is not JSON", json_frame("hello, is this a web server?")},
      {"a header cut off in a string", json_frame(R"({"code":310,"extFields":{"a":"b)")},
      {"no UTF-8", json_frame("{\"code\":310,\"remark\":\"\xC3\x28\xF5\xFF\"")},
      {"a binary header that ends early",
       frame(4 + 8, 0x0100'0008, "\x01\x36\x00\x00\x00\x00\x00\x00"sv)},
      {"a binary header with a giant field",
       frame(4 + 30, 0x0100'001E,
             "\x01\x36\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x7F\xFF\xFF\xFF"
             "aaaaaaaaaaaaa"sv)},
      {"HTTP", "POST /?q=1 HTTP/1.1\r\nHost: broker\r\nContent-Length: 4\r\n\r\nabcd"},
  };
  const std::size_t lines = log_.lines(LogLevel::kWarn).size();
  for (const auto& [what, bytes] : all) {
    SCOPED_TRACE(what);
    RawSocket peer = raw();
    peer.send(bytes);
    EXPECT_TRUE(peer.closed_by_peer());
    serves();
  }
  // One clear line each.
  EXPECT_EQ(log_.lines(LogLevel::kWarn).size(), lines + all.size());
}

TEST_F(Torture, WrongTypesInKnownFieldsAreAnsweredAndTheConnectionLives) {
  const auto wrong = std::to_array<std::string_view>({
      R"({"code":310,"opaque":1,"language":"JAVA","version":1,"extFields":{"a":"g","b":"t","c":"TBW102","d":"many","e":"first","f":"0","g":"x","h":"0","i":""}})",
      R"({"code":310,"opaque":1,"language":"JAVA","version":1,"extFields":{"a":"g","b":"t","c":"TBW102","d":"4","e":"99999999999999999999","f":"0","g":"0","h":"0"}})",
      R"({"code":11,"opaque":1,"language":"NONE SUCH","version":1,"extFields":{"consumerGroup":"g","topic":"t","queueId":"-7","queueOffset":"-9223372036854775808","maxMsgNums":"2147483647","sysFlag":"-1","commitOffset":"-1","suspendTimeoutMillis":"-1","subVersion":"x"}})",
      R"({"code":34,"opaque":1,"language":"JAVA","version":1})",
      R"({"code":-1,"opaque":1,"language":"JAVA","version":-5,"extFields":{}})",
      R"({"code":105,"opaque":1,"language":17,"version":1,"extFields":{"topic":7}})",
      R"({"code":17,"opaque":1,"extFields":{"topic":"../../etc/passwd","defaultTopic":"TBW102","readQueueNums":"-1","writeQueueNums":"2000000000","perm":"99","topicFilterType":"NONE","order":"maybe"}})",
      R"({"code":215,"opaque":1,"extFields":{"topic":"../.."}})",
  });
  for (const std::string_view json : wrong) {
    SCOPED_TRACE(json);
    RawSocket peer = raw();
    for (int again = 0; again < 3; ++again) {  // the same opaque each time
      ASSERT_TRUE(peer.send(json_frame(json, "not what this code wants")));
      const std::string answer = peer.receive(8, 5s);
      ASSERT_GE(answer.size(), 8u);
    }
    serves();
  }
  EXPECT_TRUE(std::filesystem::exists(root_));
}

TEST_F(Torture, PeersThatDawdleHoldUpNobody) {
  std::vector<RawSocket> slow;
  const std::string whole = json_frame(R"({"code":28,"opaque":9,"language":"JAVA","version":1})");
  for (std::size_t i = 0; i < 200; ++i) {
    slow.push_back(raw());
    ASSERT_TRUE(slow.back().connected());
    ASSERT_TRUE(slow.back().send(whole.substr(0, i % whole.size())));
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (std::size_t i = 0; i < slow.size(); ++i) {
      if (at >= i % whole.size()) {
        ASSERT_TRUE(slow[i].send(whole.substr(at, 1)));
      }
    }
    if (at % 16 == 0) serves();
  }
  for (RawSocket& each : slow) EXPECT_GE(each.receive(8, 5s).size(), 8u);
}

TEST_F(Torture, PromisedBytesThatNeverComeTakeNoMemory) {
  serves();
  const std::size_t before = resident_bytes();
  std::vector<RawSocket> liars;
  for (int i = 0; i < 300; ++i) {
    liars.push_back(raw());
    // A body of 15 MiB is announced, 100 bytes of it come.
    ASSERT_TRUE(liars.back().send(
        frame(15 << 20, 30, R"({"code":310,"opaque":1,"x":12})" + std::string(100, 'x'))));
  }
  serves();
  EXPECT_LT(resident_bytes(), before + (std::size_t{100} << 20));
}

TEST_F(Torture, ThousandsOfSilentConnectionsCostLittle) {
  serves();
  const std::size_t before = resident_bytes();
  constexpr int kConnections = 4'000;
  std::vector<RawSocket> idle;
  for (int i = 0; i < kConnections; ++i) {
    idle.push_back(raw());
    ASSERT_TRUE(idle.back().connected()) << i;
  }
  serves();
  const std::size_t now = resident_bytes();
#if defined(__SANITIZE_THREAD__)
  constexpr std::size_t kMost = 16 << 10;  // with what the sanitizer keeps of each byte
#else
  constexpr std::size_t kMost = 8 << 10;
#endif
  EXPECT_LT((now - std::min(before, now)) / kConnections, kMost) << "bytes a connection";
}

TEST_F(Torture, DisconnectsInTheMiddleOfAnythingAreHarmless) {
  std::mt19937_64 random{3};
  const std::string whole = json_frame(
      R"({"code":310,"opaque":5,"language":"JAVA","version":1,"extFields":{"a":"g","b":"cut","c":"TBW102","d":"4","e":"0","f":"0","g":"1","h":"0","i":"","j":"0"}})",
      std::string(3'000, 'b'));
  for (int i = 0; i < 400; ++i) {
    RawSocket peer = raw();
    peer.send(std::string_view{whole}.substr(0, random() % (whole.size() + 1)));
    if (i % 2 == 0) peer.reset();
    if (i % 50 == 0) serves();
  }
}

TEST_F(Torture, AFloodOfRequestsWithoutReadingIsBounded) {
  serves();
  const std::size_t before = resident_bytes();
  std::vector<RawSocket> greedy;
  std::string burst;
  for (int i = 0; i < 200; ++i)
    burst += json_frame(R"({"code":28,"opaque":)" + std::to_string(i) +
                        R"(,"language":"JAVA","version":1})");
  for (int i = 0; i < 8; ++i) greedy.push_back(raw());
  std::vector<std::future<void>> senders;
  for (RawSocket& each : greedy) {
    senders.push_back(std::async(std::launch::async, [&each, &burst] {
      for (int i = 0; i < 20 && each.send(burst); ++i) {
      }
    }));
  }
  serves();
  for (RawSocket& each : greedy) each.receive(1 << 24, 500ms);
  for (auto& each : senders) each.wait();
  serves();
  EXPECT_LT(resident_bytes(), before + (std::size_t{300} << 20));
}

TEST_F(Torture, RandomDamageToGoodFramesNeverHurtsOthers) {
  const std::vector<std::string> good{
      json_frame(
          R"({"code":310,"opaque":5,"language":"JAVA","version":1,"extFields":{"a":"g","b":"damaged","c":"TBW102","d":"4","e":"0","f":"0","g":"1","h":"0","i":"","j":"0"}})",
          "body"),
      json_frame(
          R"({"code":11,"opaque":6,"language":"JAVA","version":1,"extFields":{"consumerGroup":"g","topic":"honest","queueId":"0","queueOffset":"0","maxMsgNums":"32","sysFlag":"4","commitOffset":"0","suspendTimeoutMillis":"0","subscription":"*","subVersion":"0"}})"),
      json_frame(R"({"code":34,"opaque":7,"language":"JAVA","version":1})",
                 R"({"clientID":"c","producerDataSet":[{"groupName":"p"}],"consumerDataSet":[]})"),
      json_frame(
          R"({"code":12,"opaque":8,"language":"JAVA","version":1,"extFields":{"topic":"honest","key":"k","maxNum":"32","beginTimestamp":"0","endTimestamp":"9999999999999"}})"),
  };
  std::mt19937_64 random{11};
  for (int round = 0; round < 600; ++round) {
    std::string bytes = good[random() % good.size()];
    for (int flips = 1 + static_cast<int>(random() % 6); flips > 0; --flips)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    RawSocket peer = raw();
    peer.send(bytes);
    peer.send(good[random() % good.size()]);
    peer.receive(8, 2ms);
    if (round % 100 == 0) serves();
  }
}

}  // namespace
}  // namespace apogee::broker
