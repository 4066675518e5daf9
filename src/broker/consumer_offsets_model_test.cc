#include <map>
#include <random>
#include <tuple>

#include <gtest/gtest.h>

#include "broker/consumer_offsets.h"
#include "testing/disk_env.h"

/// Consumer offsets against four plain maps, over random commits, resets, removals, files written
/// and not, restarts and power cuts. What was committed is never lost but by what came after the
/// last file, and nothing comes back that was removed before it.
namespace apogee::broker {
namespace {

constexpr const char* kPath = "/store/config/consumerOffset.json";

class OffsetsModel {
 public:
  explicit OffsetsModel(std::uint64_t seed) : random_{seed} {
    EXPECT_TRUE(disk_.env->files.create_directories("/store/config"));
    for (const char* made : {"/", "/store"}) EXPECT_TRUE(disk_.env->files.sync_directory(made));
    begin();
  }

  void run() {
    for (int step = 0; step < 150 && !::testing::Test::HasFailure(); ++step) {
      change();
      check();
    }
  }

 private:
  using Key = std::tuple<std::string, std::string, std::int32_t>;  // group, topic, queue
  using Offsets = std::map<Key, std::int64_t>;

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  std::string group() { return "group" + std::to_string(below(3)); }
  std::string topic() { return "topic" + std::to_string(below(2)); }
  static bool is_of(const Key& key, const std::string& group, const std::string& topic) {
    return (group.empty() || std::get<0>(key) == group) &&
           (topic.empty() || std::get<1>(key) == topic);
  }
  void forget(const std::string& group, const std::string& topic) {
    for (Offsets* each : {&committed_, &pulled_, &resets_})
      std::erase_if(*each, [&](const auto& entry) { return is_of(entry.first, group, topic); });
  }

  void begin() {
    offsets_ = std::make_unique<ConsumerOffsets>(*disk_.env, kPath);
    EXPECT_TRUE(offsets_->load());
    committed_ = on_disk_;
    pulled_.clear();
    resets_.clear();
  }

  void change() {
    const std::string g = group(), t = topic();
    const auto queue = static_cast<std::int32_t>(below(3));
    const auto offset = static_cast<std::int64_t>(below(1'000));
    const Key key{g, t, queue};
    switch (below(16)) {
      case 0:
        offsets_->reset(g, t, queue, offset);
        resets_[key] = committed_[key] = offset;
        break;
      case 1:
      case 2:
        EXPECT_EQ(offsets_->take_reset(g, t, queue), at(resets_, key));
        resets_.erase(key);
        break;
      case 3:
        offsets_->note_pulled(g, t, queue, offset);
        pulled_[key] = offset;
        break;
      case 4:
        offsets_->note_pull(g, t, queue, offset + 5, offset);
        pulled_[key] = offset + 5;
        committed_[key] = offset;
        break;
      case 5:
        offsets_->forget_pulled(g, t);
        std::erase_if(pulled_, [&](const auto& entry) { return is_of(entry.first, g, t); });
        break;
      case 6:
        clone(g, group(), t);
        break;
      case 7:
        remove(g, t);
        break;
      case 8:
        EXPECT_TRUE(offsets_->persist());
        on_disk_ = committed_;
        break;
      case 9:
        offsets_.reset();
        if (below(2) == 0)
          disk_.disk.kill_process();
        else
          disk_.disk.crash(random_());
        disk_.restart();
        begin();
        break;
      case 10:
      case 11:
      case 12:
        offsets_->commit(g, t, queue, offset);  // also back
        committed_[key] = offset;
        break;
      default: {
        const bool free = !resets_.contains(key);
        EXPECT_EQ(offsets_->commit_unless_reset(g, t, queue, offset), free);
        if (free) committed_[key] = offset;
      }
    }
  }

  void clone(const std::string& from, const std::string& to, const std::string& topic) {
    offsets_->clone(from, to, topic);
    Offsets copies;
    for (const auto& [key, offset] : committed_)
      if (is_of(key, from, topic)) copies[{to, topic, std::get<2>(key)}] = offset;
    if (copies.empty()) return;
    std::erase_if(committed_, [&](const auto& entry) { return is_of(entry.first, to, topic); });
    committed_.merge(copies);
  }

  void remove(const std::string& group, const std::string& topic) {
    switch (below(3)) {
      case 0:
        offsets_->remove_group(group);
        return forget(group, "");
      case 1:
        offsets_->remove_topic(topic);
        return forget("", topic);
      default:
        offsets_->remove(group, topic);
        return forget(group, topic);
    }
  }

  static std::optional<std::int64_t> at(const Offsets& offsets, const Key& key) {
    const auto found = offsets.find(key);
    return found == offsets.end() ? std::nullopt : std::optional{found->second};
  }

  void check() {
    std::size_t seen = 0;
    offsets_->for_each(
        [&](const std::string& group, const std::string& topic, const QueueOffsets& queues) {
          for (const auto& [queue, offset] : queues) {
            ++seen;
            EXPECT_EQ(at(committed_, {group, topic, queue}), offset);
          }
        });
    EXPECT_EQ(seen, committed_.size());
    for (int g = 0; g < 3; ++g) {
      const std::string group = "group" + std::to_string(g);
      std::set<std::string> topics;
      for (const auto& [key, offset] : committed_)
        if (is_of(key, group, "")) topics.insert(std::get<1>(key));
      EXPECT_EQ(offsets_->topics_of(group), topics);
      for (const char* topic : {"topic0", "topic1"})
        for (std::int32_t queue = 0; queue < 3; ++queue) check({group, topic, queue});
    }
  }
  void check(const Key& key) {
    const auto& [group, topic, queue] = key;
    const auto reset = at(resets_, key);
    const auto expected = reset ? reset : at(committed_, key);
    const auto pulled = at(pulled_, key);
    EXPECT_EQ(offsets_->find(group, topic, queue), expected);
    EXPECT_EQ(offsets_->find_pulled(group, topic, queue), pulled ? pulled : expected);
    EXPECT_EQ(offsets_->reset_pending(group, topic, queue), reset.has_value());
  }

  std::mt19937_64 random_;
  testing::DiskEnv disk_;
  std::unique_ptr<ConsumerOffsets> offsets_;
  Offsets committed_, pulled_, resets_, on_disk_;
};

TEST(ConsumerOffsetsModel, AgreeWithPlainMapsAcrossRestartsAndPowerCuts) {
  for (std::uint64_t seed = 0; seed < 200 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    OffsetsModel{seed}.run();
  }
}

}  // namespace
}  // namespace apogee::broker
