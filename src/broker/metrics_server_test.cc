#include "broker/metrics_server.h"

#include <deque>

#include <gtest/gtest.h>

#include "testing/browser.h"
#include "testing/disk_env.h"
#include "testing/network.h"

namespace apogee::broker {
namespace {

using apogee::testing::Browser;

constexpr const char* kServer = "10.0.0.1";
constexpr const char* kClient = "10.0.0.2";
const Endpoint kSite{kServer, 5'557};

class Http : public ::testing::Test {
 protected:
  Http() {
    auto started =
        MetricsServer::start(env_, kSite, [this](std::string_view path) -> std::optional<HttpPage> {
          ++made_;
          if (path == "/metrics") return HttpPage{.body = "a 1\n"};
          if (path == "/readyz") return HttpPage{.status = 503, .body = "the disk is full\n"};
          return std::nullopt;
        });
    EXPECT_TRUE(started) << started.error().detail;
    server_ = *std::move(started);
  }
  ~Http() override {
    workers_.run();
    network_.cut(kServer, kClient);  // nothing runs while a destructor waits
    network_.run();
  }
  std::string get(const std::string& request) {
    Browser browser{network_, kClient, kSite};
    browser.send(request);
    network_.run();
    EXPECT_TRUE(browser.closed) << "one request a connection";
    return browser.received;
  }

  testing::ManualClock clock_;
  testing::Network network_{clock_};
  testing::DiskEnv disk_;
  /// At work at once, or, held up, when the test says so.
  struct Workers final : Executor {
    void post(std::function<void()> task) override {
      if (!held_up) return task();
      tasks.push_back(std::move(task));
    }
    void run_one() {
      const auto task = std::move(tasks.front());
      tasks.pop_front();
      task();
    }
    void run() {
      while (!tasks.empty()) run_one();
    }
    bool held_up = false;
    std::deque<std::function<void()>> tasks;
  } workers_;
  int made_ = 0;  // pages
  Env env_{clock_, disk_.env->files, network_.machine(kServer), workers_, disk_.random, disk_.log};
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(Http, ServesAPageAndCloses) {
  EXPECT_EQ(get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n"
            "Connection: close\r\n\r\na 1\n");
  EXPECT_TRUE(get("GET /metrics?a=b HTTP/1.0\r\n\r\n").ends_with("a 1\n"));
}

TEST_F(Http, AnswersHeadWithoutTheBody) {
  const std::string answer = get("HEAD /metrics HTTP/1.1\r\n\r\n");
  EXPECT_NE(answer.find("Content-Length: 4"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(Http, PassesOnWhatAPageSaysOfItsStatus) {
  EXPECT_TRUE(get("GET /readyz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
  EXPECT_TRUE(get("GET /nowhere HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
}

TEST_F(Http, RefusesWhatIsNoSuchRequest) {
  EXPECT_TRUE(get("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
  EXPECT_TRUE(get("hello\r\n\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(get("GET metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(get("GET /" + std::string(9'000, 'x')).starts_with("HTTP/1.1 431 "));
}

TEST_F(Http, TakesARequestInAnyPieces) {
  network_.conditions().read_bytes_max = 1;
  EXPECT_TRUE(get("GET /metrics HTTP/1.1\r\nA: b\r\n\r\n").ends_with("a 1\n"));
}

TEST_F(Http, DoesNotWaitForeverForASlowPeer) {
  Browser slow{network_, kClient, kSite};
  slow.send("GET /met");
  network_.run();
  EXPECT_FALSE(slow.closed);
  network_.advance(MetricsServer::kTimeMax + 1s);
  EXPECT_TRUE(slow.closed);
}

TEST_F(Http, OccupiesOneWorkerHoweverManyAskAndMakesOnePageForAllOfThem) {
  workers_.held_up = true;
  std::vector<std::unique_ptr<Browser>> open;
  for (const char* path : {"/metrics", "/metrics", "/readyz", "/metrics"}) {
    open.push_back(std::make_unique<Browser>(network_, kClient, kSite));
    open.back()->send(std::string{"GET "} + path + " HTTP/1.1\r\n\r\n");
    network_.run();
  }
  ASSERT_EQ(workers_.tasks.size(), 1U);
  workers_.run_one();
  network_.run();
  EXPECT_EQ(made_, 1);
  for (const std::size_t each : {0U, 1U, 3U}) EXPECT_TRUE(open[each]->received.ends_with("a 1\n"));
  EXPECT_FALSE(open[2]->closed);
  ASSERT_EQ(workers_.tasks.size(), 1U) << "others had their turn";
  workers_.run_one();
  network_.run();
  EXPECT_TRUE(open[2]->received.starts_with("HTTP/1.1 503 "));
  EXPECT_TRUE(workers_.tasks.empty());
  EXPECT_EQ(made_, 2);
}

TEST_F(Http, EndsASlowConnectionThoughNoWorkerIsFree) {
  workers_.held_up = true;
  Browser slow{network_, kClient, kSite};
  slow.send("GET /metrics HTTP/1.1\r\n\r\n");
  network_.run();
  network_.advance(MetricsServer::kTimeMax + 1s);
  EXPECT_TRUE(slow.closed);
}

TEST_F(Http, HasSoManyConnectionsAndNoMore) {
  std::vector<std::unique_ptr<Browser>> open;
  for (std::size_t i = 0; i < MetricsServer::kConnectionsMax; ++i)
    open.push_back(std::make_unique<Browser>(network_, kClient, kSite));
  Browser one_more{network_, kClient, kSite};
  network_.run();
  EXPECT_TRUE(one_more.closed);
  for (const auto& each : open) EXPECT_FALSE(each->closed);
}

}  // namespace
}  // namespace apogee::broker
