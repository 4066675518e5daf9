#include <future>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "protocol/message.h"
#include "store/inspect.h"
#include "store/message_store.h"
#include "testing/disk_env.h"
#include "testing/seeds.h"

/// Stores with all their threads on a disk that loses power in the middle of things, process kills,
/// clean stops, refused operations and crashes of the recovery itself, in a random order told by a
/// seed. What must hold
/// after every restart:
///   - a message that was called durable is there, once, at its queue offset, with its body;
///   - after a kill the same goes for every acknowledged one;
///   - queues are dense and in the order of their offsets; no message is there that nobody sent;
///   - keys lead to messages with that key;
///   - of a deleted topic nothing comes back, and one of its name begins anew;
///   - after a clean stop the offline check finds no damage.
namespace apogee::store {
namespace {

using apogee::testing::ForgetfulDisk;

constexpr std::int32_t kQueues = 3;

struct Sent {
  std::int32_t queue_id = 0;
  std::int64_t queue_offset = -1;
  bool acknowledged = false, durable = false;
};

/// The bit map of a message is its key.
struct KeysAsBitMaps final : StoreEvents {
  std::string filter_bit_map(std::string_view, std::string_view properties) override {
    return std::string{
        protocol::find_property(properties, protocol::property::kUniqueKey).value_or("")};
  }
};

/// Takes all; what an entry leads to in consumequeue_ext has to be its own.
class OwnBitMaps final : public MessageFilter {
 public:
  bool matches_tags_code(std::int64_t) const override { return true; }
  bool matches_bit_map(std::string_view bit_map, std::int64_t) const override {
    last_ = bit_map;
    return true;
  }
  bool needs_record() const override { return true; }
  bool matches_record(Bytes record) const override {
    const auto message = protocol::decode_message(record);
    if (message && last_) {
      EXPECT_EQ(message->property(protocol::property::kUniqueKey), *last_);
    }
    last_.reset();
    return true;
  }

 private:
  mutable std::optional<std::string> last_;
};

class CrashingStore {
 public:
  explicit CrashingStore(std::uint64_t seed) : random_{seed} {
    config_.root = "/store";
    config_.commit_log_file_bytes = 8 << 10;
    config_.consume_queue_file_bytes = 400;
    config_.queue_extension = random_() % 2 == 0;
    config_.queue_extension_file_bytes = 256;
    config_.queues_synced_together_from = random_() % 2 == 0 ? 1 : 32;
    config_.index_slots = 20;
    config_.index_units = 50 + static_cast<std::int32_t>(random_() % 100);
    config_.flush_interval_ms = 5;
    config_.queue_flush_interval_ms = 5;
    config_.queue_flush_thorough_interval_ms = 20;
    config_.flush_disk_type =
        random_() % 2 == 0 ? FlushDiskType::kSyncFlush : FlushDiskType::kAsyncFlush;
  }
  ~CrashingStore() {
    close();
    if (!::testing::Test::HasFailure()) return;
    ADD_FAILURE() << "it went" << history_;
    for (const std::string& line : log_.lines()) fmt::print("  {}\n", line);
  }

  void run() {
    for (int round = 0; round < 4 && !::testing::Test::HasFailure(); ++round) {
      SCOPED_TRACE(::testing::Message() << "round " << round);
      if (!open()) {
        ADD_FAILURE() << "cannot open: " << error_;
        return;
      }
      check();
      end_somehow();
    }
    if (::testing::Test::HasFailure()) return;
    ASSERT_TRUE(open()) << error_;
    check();
    close();
    check_offline();
  }

 private:
  bool open() {
    env_ =
        std::make_unique<Env>(Env{*clock_, disk_.files(), network_, *workers_, env_random_, log_});
    auto opened = MessageStore::open(*env_, config_, events_);
    if (!opened) {
      error_ = opened.error().detail;
      return false;
    }
    store_ = *std::move(opened);
    store_->start();
    return true;
  }
  void close() { store_.reset(); }

  /// Sends from two threads until the end comes, then makes it final.
  void end_somehow() {
    enum { kCutMidway, kCutWhenQuiet, kKill, kStop, kFaults, kKinds };
    const auto kind = static_cast<std::size_t>(random_() % kKinds);
    static constexpr std::array kNames{"power cut midway", "power cut", "kill", "stop",
                                       "power cut after faults"};
    history_ += std::string{" | "} + kNames[kind];
    if (kind == kCutMidway) disk_.lose_power_after(random_() % 400);
    if (!delete_sometimes()) return;
    if (kind == kFaults) make_faults();
    const std::uint64_t one = random_(), two = random_();
    std::thread other{[&] { send_some(two); }};
    send_some(one);
    other.join();
    const std::uint64_t crash_seed = random_();
    disk_.clear_faults();
    switch (kind) {
      case kKill:
        disk_.kill_process();
        close();
        for (auto& [body, sent] : sent_)
          if (sent.acknowledged) survive_.insert(body);
        break;
      case kStop:
        close();
        check_offline();
        for (auto& [body, sent] : sent_)
          if (sent.acknowledged) survive_.insert(body);
        break;
      default:
        crash_seed % 4 == 0 ? disk_.crash() : disk_.crash(crash_seed);
        close();
        for (auto& [body, sent] : sent_)
          if (sent.durable) survive_.insert(body);
        if (random_() % 2 == 0) crash_in_recovery();
    }
  }

  /// The topic begins anew; what it had is never seen again. False: power failed meanwhile, and
  /// the topic may be there or not.
  bool delete_sometimes() {
    if (random_() % 4 != 0) return true;
    const auto deleted = store_->delete_topic("T");
    survive_.clear();
    if (deleted) {
      history_ += ", topic deleted";
      sent_.clear();
      return true;
    }
    history_ += ", cut in deletion";
    disk_.crash(random_());
    close();
    return false;
  }

  /// The disk refuses a few things; syncs only of what is made from the log.
  void make_faults() {
    using Operation = ForgetfulDisk::Operation;
    static constexpr std::array kOperations{
        Operation::kOpen,          Operation::kWrite,
        Operation::kResize,        Operation::kAllocate,
        Operation::kMap,           Operation::kMappingSync,
        Operation::kSyncDirectory, Operation::kSync,
        Operation::kSyncTree,      Operation::kCreateDirectories,
        Operation::kRead};
    for (std::uint64_t i = random_() % 4; i-- > 0;) {
      const Operation operation = kOperations[random_() % kOperations.size()];
      disk_.inject({.operation = operation,
                    .after = random_() % 40,
                    .times = 1 + random_() % 3,
                    .error = random_() % 2 == 0 ? Errc::kIo : Errc::kNoSpace,
                    .path_part = operation == Operation::kSync ? "/consumequeue/" : "",
                    .written = random_() % 100});
    }
  }

  /// Recovery is cut off too, more than once.
  void crash_in_recovery() {
    for (int times = 0; times < 3; ++times) {
      history_ += ", cut in recovery";
      disk_.lose_power_after(random_() % 30);
      if (!open()) {
        EXPECT_NE(error_, "");
      }
      disk_.crash(random_());
      close();
    }
  }

  void send_some(std::uint64_t seed) {
    std::mt19937_64 random{seed};
    const int batches = 1 + static_cast<int>(random() % 25);
    for (int i = 0; i < batches; ++i)
      if (!send_batch(random)) return;
  }

  bool send_batch(std::mt19937_64& random) {
    const std::size_t count = 1 + random() % 6;
    std::vector<Buffer> records(count);
    std::vector<std::string> bodies(count);
    std::vector<Append> appends(count);
    std::vector<Append*> batch;
    for (std::size_t i = 0; i < count; ++i) {
      bodies[i] = std::to_string(next_body_++) + std::string(random() % 400, 'b');
      const auto queue = static_cast<std::int32_t>(random() % kQueues);
      records[i] = encode(queue, bodies[i]);
      appends[i].topic = "T";
      appends[i].queue_id = queue;
      appends[i].records = std::as_writable_bytes(std::span{records[i]});
      batch.push_back(&appends[i]);
      std::lock_guard lock{mutex_};
      sent_[bodies[i]] = {.queue_id = queue};
    }
    store_->append(batch);
    std::int64_t end = 0;
    bool all_ok = true;
    for (std::size_t i = 0; i < count; ++i) {
      if (appends[i].status != PutStatus::kOk) {
        all_ok = false;
        continue;
      }
      end =
          std::max(end, appends[i].physical_offset + static_cast<std::int64_t>(records[i].size()));
      std::lock_guard lock{mutex_};
      Sent& sent = sent_[bodies[i]];
      sent.acknowledged = true;
      sent.queue_offset = appends[i].queue_offset;
    }
    if (end == 0 || random() % 3 != 0) return all_ok;
    std::promise<PutStatus> done;
    store_->when_durable(end, [&](PutStatus status) { done.set_value(status); });
    if (done.get_future().get() != PutStatus::kOk) return false;
    std::lock_guard lock{mutex_};
    for (std::size_t i = 0; i < count; ++i)
      if (appends[i].status == PutStatus::kOk) sent_[bodies[i]].durable = true;
    return all_ok;
  }

  static Buffer encode(std::int32_t queue, const std::string& body) {
    static constexpr std::array<std::byte, 4> kHost{};
    Buffer properties, out;
    protocol::append_property(properties, protocol::property::kUniqueKey, key_of(body));
    EXPECT_TRUE(protocol::encode_message(out, {.queue_id = queue,
                                               .born_timestamp = 1,
                                               .born_host = kHost,
                                               .store_host = kHost,
                                               .body = as_bytes(body),
                                               .topic = "T",
                                               .properties = properties}));
    return out;
  }
  static std::string key_of(std::string_view body) {
    return "K" + std::string{body.substr(0, body.find('b'))};
  }

  /// Compares what can be read with what was sent.
  void check() {
    std::set<std::string> there;
    for (std::int32_t queue = 0; queue < kQueues; ++queue) {
      std::int64_t offset = 0;
      for (const std::string& body : read_all(queue)) {
        EXPECT_TRUE(there.insert(body).second) << "twice: " << key_of(body);
        const auto known = sent_.find(body);
        if (known == sent_.end()) {
          ADD_FAILURE() << "nobody sent " << key_of(body);
        } else {
          EXPECT_EQ(known->second.queue_id, queue) << key_of(body);
          if (known->second.acknowledged) {
            EXPECT_EQ(known->second.queue_offset, offset) << key_of(body);
          }
        }
        check_key(body);
        ++offset;
      }
      EXPECT_EQ(offset, store_->max_offset("T", queue)) << "queue " << queue;
    }
    for (const std::string& body : survive_)
      EXPECT_TRUE(there.contains(body)) << "lost: " << key_of(body);
    // What is there now was read by somebody; it must stay. What is not never comes.
    std::erase_if(sent_, [&](const auto& each) { return !there.contains(each.first); });
    EXPECT_THAT(disk_.written_without_reservation(), ::testing::IsEmpty());
  }

  std::vector<std::string> read_all(std::int32_t queue) {
    std::vector<std::string> bodies;
    const std::int64_t min = store_->min_offset("T", queue);
    if (min < 0) return bodies;
    EXPECT_EQ(min, 0);
    const OwnBitMaps own;
    for (std::int64_t offset = 0; offset < store_->max_offset("T", queue);) {
      const GetResult got =
          store_->get({.topic = "T", .queue_id = queue, .offset = offset, .filter = &own});
      EXPECT_EQ(got.status, GetStatus::kFound) << "queue " << queue << " offset " << offset;
      if (got.status != GetStatus::kFound) return bodies;
      for (const Bytes each : got.records) {
        for (Bytes rest = each; !rest.empty();) {
          const auto check = protocol::check_record(rest, true);
          EXPECT_EQ(check.kind, protocol::RecordKind::kRecord);
          if (check.kind != protocol::RecordKind::kRecord) return bodies;
          EXPECT_EQ(check.message.queue_offset, offset++);
          EXPECT_EQ(check.message.property(protocol::property::kUniqueKey),
                    key_of(as_text(check.message.body)));
          bodies.emplace_back(as_text(check.message.body));
          rest = rest.subspan(static_cast<std::size_t>(check.size));
        }
      }
    }
    return bodies;
  }

  /// Keys may be lost, but do not lead astray.
  void check_key(const std::string& body) {
    const std::string key = key_of(body);
    for (const RecordBytes& each :
         store_->query_by_key("T", key, 32, 0, std::numeric_limits<std::int64_t>::max())) {
      const auto message = protocol::decode_message(each.bytes);
      EXPECT_TRUE(message && as_text(message->body) == body) << key;
    }
  }

  void check_offline() {
    auto inspection = Inspection::open(
        disk_.files(),
        {.root = "/store", .index_format = {config_.index_slots, config_.index_units}});
    if (!inspection) {
      ADD_FAILURE() << inspection.error().detail;
      return;
    }
    auto report = inspection->check([](const Finding& finding) {
      if (finding.weight == Finding::Weight::kDamage)
        ADD_FAILURE() << finding.file << " at " << finding.position << ": " << finding.what;
    });
    EXPECT_TRUE(report) << report.error().detail;
  }

  std::mt19937_64 random_;
  StoreConfig config_;
  std::unique_ptr<Clock> clock_ = make_system_clock();
  ForgetfulDisk disk_{[this] { return clock_->wall_ms(); }};
  apogee::testing::NoTransport network_;
  std::unique_ptr<Executor> workers_ = make_thread_pool(2, "work");
  Random env_random_{1};
  apogee::testing::RecordingLogger log_;
  std::string history_;
  KeysAsBitMaps events_;
  std::unique_ptr<Env> env_;
  std::unique_ptr<MessageStore> store_;
  std::string error_;

  std::mutex mutex_;
  std::map<std::string, Sent> sent_;
  std::set<std::string> survive_;
  std::atomic<std::uint64_t> next_body_{0};
};

TEST(StoreCrash, LosesNothingItPromisedHoweverItEnds) {
  const testing::Seeds seeds{150};
  for (std::uint64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    SCOPED_TRACE(::testing::Message()
                 << "seed " << seed << " (APOGEE_SEED=" << seed << " repeats it)");
    CrashingStore{seed}.run();
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace apogee::store
