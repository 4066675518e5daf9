#include "broker/config_file.h"

#include <fstream>
#include <map>

#include <gtest/gtest.h>

#include "base/properties_file.h"
#include "testing/forgetful_disk.h"

namespace apogee::broker {
namespace {

Result<Ok> change(BrokerSetup& setup, std::string_view text) {
  const auto properties = parse_properties(text);
  EXPECT_TRUE(properties);
  return apply_at_run_time(*properties, options_of(setup));
}

TEST(ConfigurationKeys, StandOnceEach) {
  BrokerSetup setup;
  std::map<std::string_view, int> times;
  for (const OptionView& option : options_of(setup)) ++times[option.name];
  for (const auto& [name, count] : times) EXPECT_EQ(count, 1) << name;
}

/// CVE-2023-33246: keys that ended in a path or a shell could be changed by a request.
TEST(ChangesAtRunTime, ReachNoPathAndNoProgram) {
  for (const char* key : {"rocketmqHome", "brokerConfigPath", "configBlackList"}) {
    BrokerSetup setup;
    const auto changed = change(setup, std::string{key} + "=-c $@|sh . echo touch /tmp/owned;");
    ASSERT_FALSE(changed) << key;
    EXPECT_EQ(changed.error().code, Errc::kUnsupported) << key;
  }
  BrokerSetup setup;
  for (const OptionView& option : options_of(setup)) {
    if (option.ignored || !option.at_run_time) continue;
    EXPECT_NE(option.type, "string") << option.name << ": text that a request may set";
  }
}

TEST(ChangesAtRunTime, AreRefusedForKeysThatAreReadAtStart) {
  BrokerSetup setup;
  const auto moved = change(setup, "storePathRootDir=/etc");
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().code, Errc::kUnsupported);
  EXPECT_EQ(setup.store.root, store::StoreConfig{}.root);
}

TEST(ChangesAtRunTime, TakeEffectAndNameTheNearestKeyOfATypo) {
  BrokerSetup setup;
  EXPECT_TRUE(change(setup, "autoCreateTopicEnable=false\nbrokerPermission=4"));
  EXPECT_FALSE(setup.broker.auto_create_topic);
  EXPECT_EQ(setup.broker.permission, 4);
  const auto typo = change(setup, "brokerPermision=4");
  ASSERT_FALSE(typo);
  EXPECT_NE(typo.error().detail.find("brokerPermission"), std::string::npos);
  EXPECT_FALSE(change(setup, "brokerPermission=99"));
}

/// A key as long as a frame, compared with every key there is, held a worker for minutes, and its
/// refusal was a frame that no client takes.
TEST(ChangesAtRunTime, OfMegabytesAreRefusedAtOnceAndInShort) {
  BrokerSetup setup;
  const auto refused = change(setup, std::string(16 << 20, 'k') + "=1");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalidArgument);
  EXPECT_EQ(refused.error().detail, "unknown key " + std::string(100, 'k') + "...");
  const auto value = change(setup, "brokerPermission=" + std::string(16 << 20, '4'));
  ASSERT_FALSE(value);
  EXPECT_LT(value.error().detail.size(), 200u);
}

TEST(ChangesAtRunTime, AreRefusedForKeysWithoutEffect) {
  BrokerSetup setup;
  const auto refused = change(setup, "brokerPermission=4\nuseEpollNativeSelector=true");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kUnsupported);
  EXPECT_NE(refused.error().detail.find("useEpollNativeSelector has no effect here: "),
            std::string::npos);
  EXPECT_TRUE(change(setup, "aclEnable=false"));
  EXPECT_FALSE(change(setup, "aclEnable=true"));
  // A tool may send the whole file back.
  const std::vector<Property> file{{"useEpollNativeSelector", "true"}};
  EXPECT_TRUE(apply_at_run_time(file, options_of(setup), file));
  EXPECT_FALSE(apply_at_run_time({{"useEpollNativeSelector", "false"}}, options_of(setup), file));
}

class ConfigurationFile : public ::testing::Test {
 protected:
  ConfigurationFile() { (void)files_.create_directories("/etc"); }
  void write(std::string_view text) { ASSERT_TRUE(replace_file(files_, kPath, text)); }
  BrokerSetup read(bool lenient = false) {
    std::vector<std::string> warnings;
    auto setup = read_config(files_, kPath, lenient, warnings);
    EXPECT_TRUE(setup) << setup.error().detail;
    return setup ? *std::move(setup) : BrokerSetup{};
  }

  static constexpr const char* kPath = "/etc/broker.conf";
  testing::ForgetfulDisk disk_;
  FileSystem& files_ = disk_.files();
};

TEST_F(ConfigurationFile, IsReadAsItWasWritten) {
  for (const std::string text :
       {" a\\b\\", "\\", "  two", "\t\f x", "one\r\ntwo=2", "#!:= \\u0041"}) {
    BrokerSetup setup;
    for (const OptionView& each : options_of(setup)) {
      if (each.type == "string" && !each.ignored) {
        ASSERT_TRUE(each.set(text)) << each.name;
      }
    }
    ASSERT_TRUE(write_options(files_, kPath, options_of(setup)));
    BrokerSetup back = read();
    const auto expected = options_of(setup), found = options_of(back);
    for (std::size_t i = 0; i < expected.size(); ++i)
      EXPECT_EQ(found[i].value, expected[i].value) << expected[i].name;
  }
}

/// What `mqadmin updateBrokerConfig` leaves behind: Apache's broker writes all of its keys into its
/// file. The recorded list has other texts where machines differ.
TEST_F(ConfigurationFile, IsReadAsApachesBrokerHasWrittenItAnew) {
  std::ifstream recorded{APOGEE_SOURCE_DIR "/tests/interop/expected/mqadmin/getBrokerConfig.txt"};
  std::string file, line;
  int keys = 0;
  while (std::getline(recorded, line)) {
    const std::size_t at = line.find(" = ");
    if (at == std::string::npos) continue;
    std::string value = line.substr(at + 3);
    for (const auto& [recorded_as, here] :
         {std::pair<std::string, const char*>{"DIR", "/srv/rocketmq"},
          {"NAMESRV", "127.0.0.1:9876"},
          {"PORT", "10911"}})
      if (value.starts_with(recorded_as)) value.replace(0, recorded_as.size(), here);
    file += line.substr(0, at) + "=" + value + "\n";
    ++keys;
  }
  ASSERT_GT(keys, 450);
  write(file);
  std::vector<std::string> warnings;
  const auto setup = read_config(files_, kPath, /*lenient=*/false, warnings);
  ASSERT_TRUE(setup) << setup.error().detail;
  EXPECT_EQ(warnings, std::vector<std::string>{});
  EXPECT_EQ(setup->store.root, "/srv/rocketmq/store");
}

/// Whoever switched access control on does not get a broker that serves everybody.
TEST_F(ConfigurationFile, IsRefusedForWhatDoesNotExistHereHoweverLenient) {
  for (const std::string line :
       {"aclEnable=true", "authenticationEnabled=true", "authorizationEnabled=true",
        "storeType=defaultRocksDB", "enableDLegerCommitLog=true", "transRocksDBEnable=true",
        "indexFileWriteEnable=false", "isInBrokerContainer=true", "useSeparateRetryQueue=true"}) {
    write("nobodyKnowsThis=1\n" + line + "\n");
    std::vector<std::string> warnings;
    const auto refused = read_config(files_, kPath, /*lenient=*/true, warnings);
    ASSERT_FALSE(refused) << line;
    EXPECT_NE(refused.error().detail.find(line + " is not supported"), std::string::npos);
    EXPECT_EQ(refused.error().detail.find("nobodyKnowsThis"), std::string::npos);
    EXPECT_EQ(warnings.size(), 1u);
  }
}

TEST_F(ConfigurationFile, KeepsTheLinesThatMeanNothingHere) {
  write("haListenPort=10912\nbrokerPermission=6\nnobody\\ knows\\:this=C:\\\\x\n");
  for (int i = 0; i < 2; ++i) {
    BrokerSetup setup = read(/*lenient=*/true);
    setup.broker.permission = 4;
    ASSERT_TRUE(write_options(files_, kPath, options_of(setup)));
  }
  std::map<std::string, std::vector<std::string>> lines;
  const auto properties = parse_properties(*read_file(files_, kPath));
  ASSERT_TRUE(properties);
  for (const Property& each : *properties) lines[each.key].push_back(each.value);
  EXPECT_EQ(lines["haListenPort"], std::vector<std::string>{"10912"});
  EXPECT_EQ(lines["brokerPermission"], std::vector<std::string>{"4"});
  EXPECT_EQ(lines["nobody knows:this"], std::vector<std::string>{"C:\\x"});
}

}  // namespace
}  // namespace apogee::broker
