#include "store/queue_extension.h"

#include <gtest/gtest.h>

#include "testing/store_on_disk.h"

/// consumequeue_ext: the files, and a store whose entries lead there.
namespace apogee::store {
namespace {

struct BitMaps final : StoreEvents {
  std::string filter_bit_map(std::string_view topic, std::string_view) override {
    return topic == "t" ? bit_map : std::string{};
  }
  std::string bit_map;
};

class Extended : public testing::StoreOnDisk<BitMaps> {
 protected:
  static constexpr const char* kFile = "/store/consumequeue_ext/t/0/00000000000000000000";

  /// Takes one tag and what has a bit in common with `bits`.
  class OnlyTag final : public MessageFilter {
   public:
    explicit OnlyTag(std::string_view tag, char bits = 0)
        : code_{protocol::tags_code(tag)}, bits_{bits} {}
    bool matches_tags_code(std::int64_t code) const override { return code == code_; }
    bool matches_bit_map(std::string_view map, std::int64_t) const override {
      return bits_ == 0 || map.empty() || (map[0] & bits_) != 0;
    }

   private:
    const std::int64_t code_;
    const char bits_;
  };

  Extended() {
    config_.queue_extension = true;
    config_.queue_extension_file_bytes = 128;  // five units of 21 bytes, six without a bit map
  }

  std::int64_t send(std::string_view body, std::string_view tag) {
    const Append sent =
        append("t", encoded("t", body, {{protocol::property::kTags, std::string{tag}}}));
    wait_dispatched();
    return sent.store_timestamp;
  }
  std::string bodies(const MessageFilter& filter) {
    std::string all;
    for (std::int64_t offset = store_->min_offset("t", 0);;) {
      const GetResult got =
          store_->get({.topic = "t", .queue_id = 0, .offset = offset, .filter = &filter});
      if (got.next_offset <= offset) return all;
      offset = got.next_offset;
      for (const Bytes each : got.records)
        for (Bytes rest = each; !rest.empty();) {
          const auto message = protocol::decode_message(rest);
          all += as_text(message->body);
          rest = rest.subspan(static_cast<std::size_t>(message->size));
        }
    }
  }
  /// The ends of their names.
  std::vector<std::string> files() {
    auto files = names("/store/consumequeue_ext/t/0");
    for (std::string& each : files) each.erase(0, 16);
    return files;
  }
};

TEST_F(Extended, UnitsAndEntriesHaveTheLayoutOfThePublishedBroker) {
  open();
  events_.bit_map = "\x05";
  const std::int64_t stored = send("one", "A");
  events_.bit_map.clear();
  send("two", "B");
  std::string wanted;
  append_big<std::int16_t>(wanted, 21);  // size, tags' code, store time, bytes of the bit map
  append_big<std::int64_t>(wanted, 65);
  append_big<std::int64_t>(wanted, stored);
  append_big<std::int16_t>(wanted, 1);
  wanted += "\x05";
  EXPECT_EQ(bytes_of(kFile, 0, 21), wanted);
  EXPECT_EQ(bytes_of(kFile, 21, 2), std::string("\0\x14", 2));
  EXPECT_EQ(bytes_of(kFile, 41, 87), std::string(87, '\0'));
  constexpr const char* kQueue = "/store/consumequeue/t/0/00000000000000000000";
  EXPECT_EQ(bytes_of(kQueue, 12, 8), std::string("\x80\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(bytes_of(kQueue, 32, 8), std::string("\x80\0\0\0\0\0\0\x15", 8));
}

TEST_F(Extended, AFullFileEndsWithAMarkAndTheLastFourBytesStayFree) {
  open();
  for (const char* body : {"1", "2", "3", "4", "5", "6", "7"}) send(body, "A");
  EXPECT_EQ(files(), (std::vector<std::string>{"0000", "0128"}));
  EXPECT_EQ(bytes_of(kFile, 120, 8), std::string("\xFF\xFF\0\0\0\0\0\0", 8));
  EXPECT_EQ(bodies(OnlyTag{"A"}), "1234567");
}

TEST_F(Extended, TagsAndBitMapsFilterBeforeTheRecordIsRead) {
  open();
  events_.bit_map = "\x01";
  send("a", "A");
  events_.bit_map = "\x02";
  send("b", "A");
  send("c", "B");
  EXPECT_EQ(bodies(OnlyTag{"A"}), "ab");
  EXPECT_EQ(bodies(OnlyTag("A", 2)), "b");
  EXPECT_EQ(bodies(OnlyTag("B", 1)), "");
}

TEST_F(Extended, UnitsOfTheQueueTellWhatTheyLeadTo) {
  open();
  events_.bit_map = "\x05";
  const std::int64_t stored = send("one", "A");
  send("two", "B");
  const auto units = store_->queue_units("t", 0, 0, 10);
  ASSERT_EQ(units.size(), 2u);
  EXPECT_EQ(units[0].tags_code, 'A');
  EXPECT_EQ(units[0].extended->store_timestamp, stored);
  EXPECT_EQ(units[0].extended->bit_map, "\x05");
  EXPECT_EQ(units[1].queue_offset, 1);
  EXPECT_EQ(units[1].physical_offset, units[0].size);
  EXPECT_EQ(store_->queue_units("t", 0, 1, 1).size(), 1u);
  EXPECT_TRUE(store_->queue_units("t", 0, 2, 1).empty());
  EXPECT_TRUE(store_->queue_units("t", 1, 0, 1).empty());
}

TEST_F(Extended, GoesOnAfterAStopAKillAndAPowerCut) {
  std::string all;
  char next = 'a';
  for (int round = 0; round < 6; ++round) {
    open();
    ASSERT_EQ(bodies(OnlyTag{"A"}).substr(0, all.size()), all) << round;
    all = bodies(OnlyTag{"A"});
    for (int i = 0; i < 4; ++i) {
      send(std::string(1, next), "A");
      all += next++;
      send("-", "B");
    }
    ASSERT_EQ(bodies(OnlyTag{"A"}), all) << round;
    if (round % 3 == 1) outside_.disk.kill_process();
    if (round % 3 == 2) {
      outside_.disk.crash(static_cast<std::uint64_t>(round));
      all.resize(all.size() - 4);  // what nobody synced may be gone
    }
    close();
  }
}

TEST_F(Extended, ANewUnitNeverStandsWhereAnOldEntryLeads) {
  open();
  for (const char* body : {"1", "2", "3"}) send(body, "A");
  close();
  ASSERT_TRUE(remove_tree(outside_.disk.files(), "/store/consumequeue_ext"));
  open();
  EXPECT_EQ(bodies(OnlyTag{"A"}), "123") << "the records tell";
  for (const char* body : {"4", "5"}) send(body, "B");
  EXPECT_EQ(bodies(OnlyTag{"A"}), "123");
  EXPECT_EQ(bodies(OnlyTag{"B"}), "45");
  EXPECT_EQ(files(), std::vector<std::string>{"0128"});
}

TEST_F(Extended, NorAfterItsFilesWereLostWhileItWasSwitchedOff) {
  open();
  for (const char* body : {"1", "2", "3", "4", "5", "6", "7"}) send(body, "A");
  close();
  config_.queue_extension = false;
  open();
  for (int i = 0; i < 15; ++i) send("x", "B");  // more than a file of the queue
  close();
  config_.queue_extension = true;
  ASSERT_EQ(files(), (std::vector<std::string>{"0000", "0128"}));
  std::size_t told = 0;
  for (const char* lost :
       {"/store/consumequeue_ext/t/0/00000000000000000128", "/store/consumequeue_ext"}) {
    ASSERT_TRUE(remove_tree(outside_.disk.files(), lost));
    open();
    EXPECT_EQ(outside_.log.lines(LogLevel::kWarn).size(), ++told);
    send("y", "C");
    EXPECT_EQ(bodies(OnlyTag{"A"}), "1234567");
    EXPECT_EQ(bodies(OnlyTag{"B"}), std::string(15, 'x'));
    EXPECT_EQ(bodies(OnlyTag{"C"}).front(), 'y');
    close();
  }
}

TEST_F(Extended, CanBeSwitchedOffAndOnAgain) {
  for (const bool on : {true, false, true, false}) {
    config_.queue_extension = on;
    open();
    send("a", "A");
    send("b", "B");
    close();
  }
  for (const bool on : {true, false}) {
    config_.queue_extension = on;
    open();
    EXPECT_EQ(bodies(OnlyTag{"A"}), "aaaa");
    EXPECT_EQ(bodies(OnlyTag{"B"}), "bbbb");
    close();
  }
}

TEST_F(Extended, FilesGoWithTheEntriesThatLeadThereAndWithTheTopic) {
  open();
  for (int i = 0; i < 40; ++i) send(std::string(1'000, 'x'), "A");  // three files of the log
  EXPECT_EQ(files().front(), "0000");
  close();
  ASSERT_TRUE(outside_.disk.files().remove("/store/commitlog/00000000000000000000"));
  open();
  EXPECT_GT(store_->min_offset("t", 0), 10);
  EXPECT_NE(files().front(), "0000");
  EXPECT_EQ(bodies(OnlyTag{"A"}).size(),
            static_cast<std::size_t>(40 - store_->min_offset("t", 0)) * 1'000);
  ASSERT_TRUE(store_->delete_topic("t"));
  EXPECT_TRUE(files().empty());
}

}  // namespace
}  // namespace apogee::store
