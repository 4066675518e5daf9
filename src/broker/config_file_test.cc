#include "broker/config_file.h"

#include <map>

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace apogee::broker
