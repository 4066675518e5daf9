#include "main/inspect.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "main/text.h"
#include "testing/ran.h"
#include "testing/store_builder.h"

namespace apogee {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::Ran;

Ran run(const std::vector<std::string>& words) {
  return testing::run_kept([&] { return run_inspect(words); });
}
/// One JSON object a line.
std::vector<protocol::Json> objects(const std::string& text) {
  std::vector<protocol::Json> found;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    auto json = protocol::parse_json(rest.substr(0, end));
    EXPECT_TRUE(json) << rest.substr(0, end);
    if (json) found.push_back(*std::move(json));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return found;
}

/// A small store in a directory of its own.
class InspectCommand : public ::testing::Test {
 protected:
  InspectCommand()
      : root_{(std::filesystem::path{::testing::TempDir()} /
               ("inspect-" +
                std::string{::testing::UnitTest::GetInstance()->current_test_info()->name()}))
                  .string()} {
    std::filesystem::remove_all(root_);
    testing::StoreBuilder builder{root_, 4'096, 400};
    for (int i = 0; i < 5; ++i)
      builder.put({.topic = "T",
                   .queue_id = 0,
                   .body = "hello",
                   .tags = "A",
                   .unique_key = "U" + std::to_string(i),
                   .store_timestamp = 1'700'000'000'000 + i});
    builder.write(*files_, /*durable=*/false);
  }
  ~InspectCommand() override { std::filesystem::remove_all(root_); }

  std::unique_ptr<FileSystem> files_ = make_posix_files();
  const std::string root_;
};

TEST_F(InspectCommand, TellsWhatIsInAStoreWithAndWithoutItsName) {
  const Ran named = run({"summary", root_}), short_form = run({root_});
  EXPECT_EQ(named.code, 0) << named.err;
  EXPECT_EQ(named.out, short_form.out);
  EXPECT_THAT(named.out, HasSubstr("Consume queues"));
  EXPECT_THAT(named.out, HasSubstr("shut down cleanly"));
}

TEST_F(InspectCommand, GivesEachPartAsJson) {
  const auto summary = objects(run({root_, "--json"}).out);
  ASSERT_EQ(summary.size(), 1U);
  EXPECT_EQ(write_json(*summary[0].find("queues"), protocol::JsonStyle::kStandard),
            R"([{"topic":"T","queueId":0,"minOffset":0,"maxOffset":5}])");
  EXPECT_EQ(objects(run({"records", root_, "--json"}).out).size(), 5U);
  EXPECT_EQ(objects(run({"records", root_, "--key", "U3", "--json"}).out).size(), 1U);
  EXPECT_THAT(run({"records", root_, "--compacted"}).out, HasSubstr("no such records"));
  const auto entries = objects(run({"queue", root_, "T", "0", "--from", "3", "--json"}).out);
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(write_json(*entries[0].find("queueOffset"), protocol::JsonStyle::kStandard), "3");
  EXPECT_EQ(objects(run({"check", root_, "--json"}).out).size(), 1U);
}

TEST_F(InspectCommand, ShowsBytesThatAreNoTextInHexAndCutsNoCharacter) {
  std::string chinese;
  for (int i = 0; i < 20; ++i) chinese += "\xE6\xB6\x88\xE6\x81\xAF";
  testing::StoreBuilder builder{root_, 4'096, 400};
  builder.put({.body = chinese, .tags = "\xFF"});
  builder.put({.body = "\xFF\xFE"});
  std::filesystem::remove_all(root_);
  builder.write(*files_, /*durable=*/false);
  const Ran json = run({"records", root_, "--json"}), text = run({"records", root_});
  EXPECT_TRUE(is_text(json.out));
  EXPECT_TRUE(is_text(text.out));
  const auto records = objects(json.out);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(*records[0].find("body")->text(), chinese.substr(0, 63));
  EXPECT_EQ(*records[0].find("properties")->find("TAGS")->text(), "0xff");
  EXPECT_EQ(*records[1].find("bodyHex")->text(), "fffe");
  EXPECT_EQ(records[1].find("body"), nullptr);
  EXPECT_THAT(text.out, HasSubstr("body        0xfffe\n"));
}

TEST_F(InspectCommand, ShowsSoManyAndSaysThatThereAreMore) {
  const Ran some = run({"records", root_, "--limit", "2"});
  EXPECT_EQ(some.code, 0);
  EXPECT_THAT(some.out, HasSubstr("there are more; --limit 20 shows them"));
  EXPECT_THAT(run({"records", root_}).out, Not(HasSubstr("there are more")));
  EXPECT_THAT(run({"records", root_, "--topic", "U"}).out, HasSubstr("no such records"));
}

TEST_F(InspectCommand, TellsDamageByItsExitCodeAndRepairsOnlyWhenAsked) {
  EXPECT_EQ(run({"check", root_}).code, 0);
  {
    auto file =
        files_->open(root_ + "/commitlog/00000000000000000000", FileSystem::Open::kExisting);
    ASSERT_TRUE(file);
    ASSERT_TRUE((*file)->write_at(90, as_bytes("X")));  // in the first body
  }
  const Ran damaged = run({"check", root_});
  EXPECT_EQ(damaged.code, 1);
  EXPECT_THAT(damaged.out, HasSubstr("DAMAGE"));
  const Ran planned = run({"repair", root_});
  EXPECT_EQ(planned.code, 1);
  EXPECT_THAT(planned.out, HasSubstr("nothing was changed; --apply does what is said above"));
  EXPECT_EQ(run({"check", root_}).out, damaged.out);
}

TEST_F(InspectCommand, TakesEveryFormatOfAnIndexThatABrokerMayHave) {
  const Ran largest = run({root_, "--index-slots", "500000000", "--index-units", "500000000"});
  EXPECT_EQ(largest.code, 0) << largest.err;
}

TEST_F(InspectCommand, RefusesWhatItCannotDo) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{},
                                                {"records"},
                                                {"queue", root_},
                                                {"queue", root_, "T"},
                                                {"queue", root_, "T", "first"},
                                                {"records", root_, "--limit", "many"},
                                                {"records", root_, "--nonsense"},
                                                {"check", root_, "--apply"},
                                                {root_, "--index-slots", "0"}})
    EXPECT_EQ(run(words).code, 2) << ::testing::PrintToString(words);
  const Ran nowhere = run({root_ + "/config"});
  EXPECT_EQ(nowhere.code, 2);
  EXPECT_THAT(nowhere.err, HasSubstr("apogee inspect: "));
  const Ran no_queue = run({"queue", root_, "T", "7"});
  EXPECT_EQ(no_queue.code, 2);
  EXPECT_THAT(no_queue.err, HasSubstr("no queue 7 of topic T"));
  EXPECT_EQ(run({"--help"}).code, 0);
}

}  // namespace
}  // namespace apogee
