#include "tests/crash/crash_run.h"

#include <array>

#include "protocol/codes.h"

namespace apogee::crash {
namespace {
using apogee::testing::ForgetfulDisk;

constexpr const char* kBrokerHost = "10.0.0.1";
constexpr const char* kClientHost = "10.0.0.9";
constexpr int kLives = 4;
}  // namespace

CrashRun::CrashRun(std::uint64_t seed, Mutant mutant) : random_{seed}, mutant_{std::move(mutant)} {
  sync_flush_ = random_() % 2 == 0;
  if (mutant_.only == Mutant::Only::kSyncFlush) sync_flush_ = true;
  if (mutant_.only == Mutant::Only::kAsyncFlush) sync_flush_ = false;
  store_config_.root = "/store";
  store_config_.flush_disk_type =
      sync_flush_ ? store::FlushDiskType::kSyncFlush : store::FlushDiskType::kAsyncFlush;
  store_config_.commit_log_file_bytes = 16 << 10;
  store_config_.consume_queue_file_bytes = 400;
  store_config_.index_slots = 20;
  store_config_.index_units = 50 + static_cast<std::int32_t>(random_() % 100);
  store_config_.flush_interval_ms = 5;
  store_config_.queue_flush_thorough_interval_ms = 3'000;
  store_config_.queues_synced_together_from = random_() % 2 == 0 ? 1 : 32;
  store_config_.delay_levels = "1s 2s 3s 4s 5s";
  store_config_.delay_offset_flush_interval_ms = 1'000;
  store_config_.timer_log_file_bytes = 1'040;  // 20 units
  store_config_.batch_queue_file_bytes = 46 * 10;
  store_config_.compaction_queue_file_bytes = 46 * 7;
  store_config_.compaction_log_file_bytes = 2'600;
  store_config_.compaction_interval_ms = 500;
  history_ = sync_flush_ ? "SYNC_FLUSH" : "ASYNC_FLUSH";
  client_env_ = std::make_unique<Env>(
      Env{clock_, disk_.files(), network_.machine(kClientHost), workers_, env_random_, log_});
  client_ = remoting::make_client(*client_env_, {}, &questions_);
}

CrashRun::~CrashRun() {
  drop_broker();
  client_.reset();
  network_.run();
}

std::vector<std::string> CrashRun::run() {
  for (int round = 0; round < kLives; ++round) {
    if (random_() % 4 > 0 || !start_with_faults()) {
      if (!start()) {
        ledger_.violation("the broker does not start: " + error_);
        return ledger_.violations;
      }
      check();
      if (!ledger_.violations.empty()) return ledger_.violations;
    }
    live();
    end_somehow();
    if (!ledger_.violations.empty()) return ledger_.violations;
  }
  if (!start()) {
    ledger_.violation("the broker does not start: " + error_);
    return ledger_.violations;
  }
  check();
  if (ledger_.violations.empty()) check_end();
  stop_cleanly();
  return ledger_.violations;
}

// ---- Lives and ends ----------------------------------------------------------------------------

bool CrashRun::start() {
  FileSystem* files = &disk_.files();
  mutated_files_ = mutant_.files ? mutant_.files(*files) : nullptr;
  if (mutated_files_) files = mutated_files_.get();
  env_ = std::make_unique<Env>(
      Env{clock_, *files, network_.machine(kBrokerHost), workers_, env_random_, log_});
  broker::BrokerSetup setup;
  setup.broker.broker_name = "broker-a";
  setup.broker.broker_ip1 = kBrokerHost;
  setup.broker.revive_queue_num = 2;
  setup.broker.flush_consumer_offset_interval_ms = 1'000;
  setup.broker.shutdown_grace_ms = 0;
  setup.broker.transaction_timeout_ms = 2'000;
  setup.broker.transaction_check_interval_ms = 2'000;
  setup.broker.transaction_check_max = 1'000;
  setup.broker.recall_message = true;
  setup.store = store_config_;
  setup.server.listen_port = 10'911;
  if (mutant_.open_store) setup.open_store = mutant_.open_store;
  auto started = broker::Broker::start(*env_, std::move(setup));
  if (!started) {
    error_ = started.error().detail;
    network_.run();
    return false;
  }
  broker_ = *std::move(started);
  address_ = to_string(Endpoint{kBrokerHost, broker_->local().port});
  return true;
}

/// The disk refuses something while the broker starts. Either it lives on, and what it could not
/// find is there after the next start at the latest; or it does not start, and does with the next
/// try. In between power may fail, unless memory alone holds what a kill must leave.
bool CrashRun::start_with_faults() {
  history_ += ", faults at start";
  make_faults();
  const bool started = start();
  disk_.clear_faults();
  if (!started && !killed_) disk_.crash(random_());
  if (started)  // nobody looks what a power cut has left before more is sent
    for (auto* each :
         {&ledger_.plain, &ledger_.popped, &ledger_.together, &ledger_.passing, &ledger_.returned})
      for (auto& [body, sent] : *each) sent.acknowledged = false;
  return started;
}

void CrashRun::stop_cleanly() {
  await_all();
  drop_broker();
}

/// Ends the broker; on a disk that was cut off from it this is only tidying up.
void CrashRun::drop_broker() {
  if (!broker_) return;
  client_->close(address_);
  network_.run();
  broker_.reset();
  network_.run();
  waiting_ = 0;
}

void CrashRun::live() {
  if (!topics_made_) make_topics();
  for (std::uint64_t actions = 5 + random_() % 25; actions-- > 0;) act();
}

void CrashRun::end_somehow() {
  static constexpr std::array kNames{"power cut midway",
                                     "power cut",
                                     "kill",
                                     "stop",
                                     "power cut after faults",
                                     "power cut after a failed sync"};
  const End kind = mutant_.end.value_or(static_cast<End>(random_() % 5));
  history_ += std::string{" | "} + kNames[static_cast<std::size_t>(kind)];
  killed_ = kind == End::kKill;
  if (kind == End::kCutMidway) disk_.lose_power_after(random_() % 300);
  if (kind == End::kFaults) make_faults();
  if (kind == End::kFailingSyncs)
    disk_.inject({.operation = ForgetfulDisk::Operation::kSync,
                  .after = random_() % 10,
                  .path_part = "/commitlog/"});
  for (std::uint64_t actions = random_() % 15; actions-- > 0;) act();
  disk_.clear_faults();
  if (kind == End::kStop) {
    stop_cleanly();
    promises_hold();
    return;
  }
  // Answers under way are worth as much as those that came; some are waited for.
  if (random_() % 2 == 0)
    await_all();
  else if (kind == End::kCutWhenQuiet && sync_flush_)
    read_what_is_new();
  if (kind == End::kKill) {
    disk_.kill_process();
    drop_broker();
    promises_hold();
    return;
  }
  const std::uint64_t crash_seed = random_();
  crash_seed % 4 == 0 ? disk_.crash() : disk_.crash(crash_seed);
  drop_broker();
  promises_of_a_power_cut();
  if (random_() % 3 == 0) crash_in_recovery();
}

/// The disk refuses a few things.
void CrashRun::make_faults() {
  using Operation = ForgetfulDisk::Operation;
  struct Kind {
    Operation operation;
    const char* path;
  };
  static constexpr std::array kKindsOfFault{Kind{Operation::kOpen, ""},
                                            Kind{Operation::kWrite, ""},
                                            Kind{Operation::kWrite, "/commitlog/"},
                                            Kind{Operation::kResize, ""},
                                            Kind{Operation::kAllocate, ""},
                                            Kind{Operation::kMap, ""},
                                            Kind{Operation::kMappingSync, ""},
                                            Kind{Operation::kSyncDirectory, ""},
                                            Kind{Operation::kSync, "/commitlog/"},
                                            Kind{Operation::kSync, "/commitlog/"},
                                            Kind{Operation::kSync, "/consumequeue/"},
                                            Kind{Operation::kSyncTree, "/consumequeue"},
                                            Kind{Operation::kSync, "/config/"},
                                            Kind{Operation::kRename, "/config/"},
                                            Kind{Operation::kCreateDirectories, ""},
                                            Kind{Operation::kRead, ""},
                                            Kind{Operation::kRead, "/consumequeue/"}};
  for (std::uint64_t i = 1 + random_() % 3; i-- > 0;) {
    const Kind& kind = kKindsOfFault[random_() % kKindsOfFault.size()];
    disk_.inject({.operation = kind.operation,
                  .after = random_() % 20,
                  .times = 1 + random_() % 3,
                  .error = random_() % 2 == 0 ? Errc::kIo : Errc::kNoSpace,
                  .path_part = kind.path,
                  .written = random_() % 100});
  }
}

/// Recovery is cut off too, more than once.
void CrashRun::crash_in_recovery() {
  for (int times = 0; times < 2; ++times) {
    history_ += ", cut in recovery";
    disk_.lose_power_after(random_() % 60);
    (void)start();
    disk_.crash(random_());
    drop_broker();
  }
}

/// Whatever was acknowledged must be there after this end.
void CrashRun::promises_hold() {
  for (auto* each :
       {&ledger_.plain, &ledger_.delayed, &ledger_.timed, &ledger_.recalled, &ledger_.popped,
        &ledger_.returned, &ledger_.together, &ledger_.kept, &ledger_.passing})
    for (auto& [body, sent] : *each)
      if (std::exchange(sent.acknowledged, false)) sent.certain = true;
  for (auto& [body, half] : ledger_.halves)
    if (std::exchange(half.acknowledged, false)) half.certain = true;
}

/// With SYNC_FLUSH what was acknowledged is on disk. Otherwise it may be lost; the checks say in
/// what order. A message sent back is not waited for with either, as with Apache's broker: it may
/// be lost as long as the group's offset still stands before the original; nor is a transaction's
/// end: the half is asked about again.
void CrashRun::promises_of_a_power_cut() {
  for (auto* each : {&ledger_.plain, &ledger_.delayed, &ledger_.timed, &ledger_.recalled,
                     &ledger_.popped, &ledger_.together, &ledger_.kept, &ledger_.passing})
    for (auto& [body, sent] : *each) {
      if (sync_flush_ && sent.acknowledged) sent.certain = true;
      const bool in_order = each == &ledger_.plain || each == &ledger_.popped ||
                            each == &ledger_.together || each == &ledger_.passing;
      if (sync_flush_ || !in_order) sent.acknowledged = false;
    }
  for (auto& [body, half] : ledger_.halves) {
    if (std::exchange(half.acknowledged, false) && sync_flush_) half.certain = true;
    // Its place may be another's now, and places are what an end names.
    if (!half.certain) half.queue_offset = half.physical_offset = -1;
  }
}

}  // namespace apogee::crash
