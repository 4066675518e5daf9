#include "broker/assignment.h"
#include "broker/consumer_offsets.h"
#include "broker/filter_data.h"
#include "broker/pop_order.h"
#include "broker/scheduled_messages.h"
#include "broker/subscription_groups.h"
#include "broker/topics.h"
#include "broker/transactions.h"
#include "fuzz/input.h"
#include "fuzz/law.h"
#include "namesrv/kv_config.h"
#include "protocol/table_file.h"
#include "testing/disk_env.h"
#include "testing/memory_store.h"

/// The JSON tables below config/, as a hand, a crash or another broker may have left them: the
/// first byte says which one and whether there is a sound .bak beside it. Laws: a table is read or
/// refused with a reason; a sound .bak is read when the table itself cannot be; what was read can
/// be worked with, and is written as something that is read again.
namespace {

using apogee::fuzz::require;

using namespace apogee;
using namespace apogee::broker;
using apogee::testing::DiskEnv;

constexpr const char* kPath = "/store/config/table.json";

struct World {
  DiskEnv disk;
  Env& env = *disk.env;
  LiveConfig config{BrokerConfig{}};
  std::string_view text;
  bool has_backup;

  World(std::string_view file, bool backup) : text{file}, has_backup{backup} {
    require(env.files.create_directories("/store/config").has_value());
    write(kPath, text);
    if (has_backup) write("/store/config/table.json.bak", "{}");
  }
  void write(const std::string& path, std::string_view content) {
    auto file = env.files.open(path, FileSystem::Open::kCreate);
    require(file && (*file)->write_at(0, as_bytes(content)).has_value());
  }
  /// False: it was refused, which is right.
  bool loaded(const Result<Ok>& result) const {
    if (result) return true;
    require(!result.error().detail.empty() && !has_backup);
    return false;
  }
};

void check_topics(World& world) {
  Topics topics{world.env, world.config, kPath, true};
  if (!world.loaded(topics.load())) return;
  for (const TopicPtr& each : topics.all()) {
    require(topics.find(each->topic_name) == each);
    (void)is_batch_topic(*each);
  }
  (void)topics.create_on_send("new", "TBW102", 4, 0);
  topics.update(protocol::TopicConfig{.topic_name = "updated"});
  topics.remove("new");
  require(topics.persist().has_value());
  Topics again{world.env, world.config, kPath, true};
  require(again.load().has_value() && again.contains("updated"));
  require(again.all().size() == topics.all().size());
}

void check_groups(World& world) {
  SubscriptionGroups groups{world.env, world.config, kPath, true};
  if (!world.loaded(groups.load())) return;
  for (const GroupPtr& each : groups.all()) {
    require(groups.find(each->group_name) == each);
    (void)groups.forbidden(each->group_name, "t", SubscriptionGroups::kForbiddenRead);
  }
  groups.set_forbidden("g", "t", SubscriptionGroups::kForbiddenRead, true);
  (void)groups.find_or_create("g");
  groups.update(protocol::SubscriptionGroupConfig{.group_name = "updated"});
  require(groups.persist().has_value());
  SubscriptionGroups again{world.env, world.config, kPath, true};
  require(again.load().has_value() && again.contains("updated"));
  require(again.forbidden("g", "t", SubscriptionGroups::kForbiddenRead));
}

void check_offsets(World& world, const std::string& lmq_path) {
  ConsumerOffsets offsets{world.env, kPath, 500, lmq_path};
  if (!world.loaded(offsets.load())) return;
  for (const std::string& group : offsets.groups())
    for (const std::string& topic : offsets.topics_of(group)) {
      require(offsets.groups_of(topic).contains(group));
      offsets.clone(group, "copy", topic);
    }
  offsets.commit("g", "t", 0, 7);
  require(offsets.persist().has_value());
  ConsumerOffsets again{world.env, kPath, 500, lmq_path};
  require(again.load().has_value() && again.find("g", "t", 0) == 7);
  require(again.to_json() == offsets.to_json());
}

void check_filters(World& world) {
  FilterData filters{world.env, world.config, kPath};
  if (!world.loaded(filters.load())) return;
  auto sql = protocol::subscription_from("t", "a > 1", "SQL92", 1);
  require(sql.has_value());
  filters.registered("g", {*sql});
  require(filters.persist([](const std::string&) { return true; }).has_value());
  require(filters.table().filter_data_by_topic.contains("t"));
}

void check_ordered(World& world) {
  OrderedPops pops{world.env, kPath};
  if (!world.loaded(pops.load())) return;
  const OrderedPops::Queue queue{"t", "g", 0};
  (void)pops.blocked_until(queue, "attempt", 1'000);
  (void)pops.ack(queue, 3, 1, 3);
  pops.show_at(queue, 4, 1, 2);
  std::string counts;
  pops.popped(queue, "attempt", 5, 1'000, {1, 2, 3}, counts);
  const auto acked = pops.ack(queue, 1, 5, 1);
  require(acked.result == OrderedPops::AckResult::kCommit && acked.next_offset == 2);
  Topics topics{world.env, world.config, "/store/config/topics.json"};
  SubscriptionGroups groups{world.env, world.config, "/store/config/groups.json"};
  require(pops.persist(topics, groups).has_value());
}

void check_modes(World& world) {
  MessageRequestModes modes{world.env, kPath};
  if (!world.loaded(modes.load())) return;
  require(modes.set({.consumer_group = "g", .topic = "t"}).has_value());
  MessageRequestModes again{world.env, kPath};
  require(again.load().has_value() && again.find("t", "g"));
}

void check_delays(World& world) {
  testing::MemoryStore store{world.disk.clock};
  Stats stats{world.disk.clock, "Cluster"};
  const auto levels = DelayLevels::parse("1s 5s");
  store.put({.topic = protocol::kScheduleTopic,
             .body = "waits",
             .properties = {{"DELAY", "1"}, {"REAL_TOPIC", "t"}, {"REAL_QID", "0"}}});
  ScheduledMessages scheduled{world.env, store, stats, *levels, kPath, 500, 10'000};
  if (!world.loaded(scheduled.load())) return;
  world.disk.clock.advance(10s);
  (void)scheduled.deliver_due();
  (void)scheduled.offsets();
}

void check_kv(World& world) {
  namesrv::KvConfig kv{world.env, kPath};
  if (!world.loaded(kv.load())) return;
  require(kv.set("n", "k", "v").has_value());
  namesrv::KvConfig again{world.env, kPath};
  require(again.load().has_value() && again.find("n", "k") == "v");
}

/// Tables that are a struct and no more.
template <class Table>
void check_plain(World& world) {
  const auto table = protocol::load_table<Table>(world.env, kPath);
  if (!table) {
    require(!table.error().detail.empty() && !world.has_backup);
    return;
  }
  if (!*table) return;
  require(protocol::save_table(world.env, kPath, **table).has_value());
  const auto again = protocol::load_table<Table>(world.env, kPath);
  require(again && *again);
  require(protocol::encode_body(**again) == protocol::encode_body(**table));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  World world{{reinterpret_cast<const char*>(data + 1), size - 1}, (data[0] & 0x80) != 0};
  switch (data[0] % 16) {
    case 0:
      check_topics(world);
      break;
    case 1:
      check_groups(world);
      break;
    case 2:
      check_offsets(world, {});
      break;
    case 3:
      check_offsets(world, "/store/config/lmq.json");
      break;
    case 4:
      check_filters(world);
      break;
    case 5:
      check_ordered(world);
      break;
    case 6:
      check_modes(world);
      break;
    case 7:
      check_delays(world);
      break;
    case 8:
      check_kv(world);
      break;
    case 9:
      check_plain<protocol::TimerMetrics>(world);
      break;
    default:
      check_plain<TransactionCounts>(world);
  }
  return 0;
}
