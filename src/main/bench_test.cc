#include "main/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apogee/testing/broker.h"
#include "main/admin.h"
#include "testing/ran.h"

namespace apogee {
namespace {

using ::testing::HasSubstr;
using testing::Ran;

Ran run(const std::vector<std::string>& words) {
  return testing::run_kept([&] { return run_bench(words); });
}

TEST(BenchCommand, RefusesWhatItCannotDo) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{},
                                                {"fly"},
                                                {"send", "-b", "127.0.0.1:1", "--nonsense"},
                                                {"send", "-b", "127.0.0.1:1", "-s", "7"},
                                                {"send", "-b", "127.0.0.1:1", "-c", "0"},
                                                {"send", "-b", "127.0.0.1:1", "-r", "fast"},
                                                {"send", "-b", "127.0.0.1:1", "-d", "0"},
                                                {"e2e", "-b", "127.0.0.1:1", "-r", "0"},
                                                {"pull", "-b", "127.0.0.1:1", "--count", "2000"}})
    EXPECT_EQ(run(words).code, 2) << ::testing::PrintToString(words);
  EXPECT_EQ(run({"--help"}).code, 0);
}

TEST(BenchCommand, AsksWhereTheBrokerIs) {
  const Ran send = run({"send"});
  EXPECT_EQ(send.code, 2);
  EXPECT_THAT(send.err, HasSubstr("say where the broker is: -n NAME_SERVER or -b BROKER"));
  const Ran route = run({"route", "-b", "127.0.0.1:1"});
  EXPECT_EQ(route.code, 2);
  EXPECT_THAT(route.err, HasSubstr("say where the name server is"));
}

TEST(BenchCommand, IsCompletedWithAllThatCanBeMeasured) {
  for (const std::string shell : {"bash", "zsh"})
    EXPECT_THAT(testing::run_kept([&] { return run_completion(std::span{&shell, 1}); }).out,
                HasSubstr("send pull e2e route"));
}

TEST(BenchCommand, TellsWhatItMeasuredAsOneObject) {
  auto broker = testing::Broker::start();
  ASSERT_TRUE(broker) << broker.error().detail;
  const Ran ran = run(
      {"send", "-n", broker->name_server(), "-c", "1", "-f", "2", "-d", "1", "--json", "--quiet"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err, "");
  const protocol::Json json = ran.json();
  for (const char* name : {"mode", "connections", "inFlight", "size", "seconds", "messages",
                           "perSecond", "latencyUs", "errors"})
    EXPECT_NE(json.find(name), nullptr) << name;
  EXPECT_EQ(json.find("mode")->text() ? *json.find("mode")->text() : "", "send");
}

}  // namespace
}  // namespace apogee
