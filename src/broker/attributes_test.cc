#include "broker/attributes.h"

#include <gtest/gtest.h>

namespace apogee::broker {
namespace {

std::string why(const Result<Attributes>& result) {
  return result ? "taken" : result.error().detail;
}

TEST(AttributeChanges, AreReadWithTheirSigns) {
  const auto changes = parse_attribute_changes("+message.type=FIFO,,-reserve.time");
  ASSERT_TRUE(changes);
  EXPECT_EQ(*changes, (Attributes{{"+message.type", "FIFO"}, {"-reserve.time", ""}}));
  EXPECT_TRUE(parse_attribute_changes("")->empty());
  EXPECT_EQ(why(parse_attribute_changes("message.type")),
            "delete attribute format is wrong: message.type");
  EXPECT_EQ(why(parse_attribute_changes("message.type=FIFO")),
            "add/alter attribute format is wrong: message.type");
  EXPECT_FALSE(parse_attribute_changes("+a=1,+a=2"));
}

TEST(AttributeChanges, OfSomethingNewAreAdditions) {
  const auto made = alter_attributes(topic_attributes(), nullptr,
                                     {{"+queue.type", "SimpleCQ"}, {"+reserve.time", "-1"}});
  ASSERT_TRUE(made) << why(made);
  EXPECT_EQ(*made, (Attributes{{"queue.type", "SimpleCQ"}, {"reserve.time", "-1"}}));
  EXPECT_EQ(*alter_attributes(topic_attributes(), nullptr, {{"+cleanup.policy", "COMPACTION"}}),
            (Attributes{{"cleanup.policy", "COMPACTION"}}));
  EXPECT_EQ(why(alter_attributes(topic_attributes(), nullptr, {{"-message.type", ""}})),
            "only add attribute is supported while creating topic. key: message.type");
}

TEST(AttributeChanges, TouchWhatMayChangeOnly) {
  const Attributes present{{"queue.type", "SimpleCQ"}, {"message.type", "FIFO"}};
  const auto alter = [&](const Attributes& changes) {
    return alter_attributes(topic_attributes(), &present, changes);
  };
  EXPECT_EQ(*alter({{"+message.type", "NORMAL"}}),
            (Attributes{{"queue.type", "SimpleCQ"}, {"message.type", "NORMAL"}}));
  EXPECT_EQ(*alter({{"-message.type", ""}}), (Attributes{{"queue.type", "SimpleCQ"}}));
  EXPECT_EQ(*alter({}), present);
  for (const auto& [changes, refused] : std::vector<std::pair<Attributes, std::string>>{
           {{{"+queue.type", "SimpleCQ"}}, "attempt to update an unchangeable attribute"},
           {{{"-reserve.time", ""}}, "attempt to delete a nonexistent key"},
           {{{"+no.such", "1"}}, "unsupported key: no.such"},
           {{{"message.type", "FIFO"}}, "wrong format key"},
           {{{"+", "1"}}, "kv string format wrong"},
           {{{"", "1"}}, "kv string format wrong"},
           {{{"+message.type", "FIFO"}, {"-message.type", ""}}, "alter duplication key"},
           {{{"+message.type", "SOMETIMES"}}, "value is not in set: [UNSPECIFIED, MIXED"},
           {{{"+reserve.time", "-2"}}, "value is not in range(-1, 9223372036854775807)"},
           {{{"+reserve.time", "soon"}}, "For input string: \"soon\""}})
    EXPECT_NE(why(alter(changes)).find(refused), std::string::npos) << why(alter(changes));
}

TEST(AttributeChanges, OfGroupsAreChecked) {
  EXPECT_TRUE(alter_attributes(group_attributes(), nullptr, {{"+priority.factor", "100"}}));
  EXPECT_FALSE(alter_attributes(group_attributes(), nullptr, {{"+priority.factor", "101"}}));
  EXPECT_FALSE(alter_attributes(group_attributes(), nullptr, {{"+message.type", "FIFO"}}));
}

}  // namespace
}  // namespace apogee::broker
