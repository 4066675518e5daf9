#pragma once

#include <memory>
#include <random>
#include <string>

#include "broker/broker.h"
#include "remoting/client.h"
#include "testing/forgetful_disk.h"
#include "testing/manual_clock.h"
#include "testing/network.h"
#include "testing/recording_logger.h"
#include "tests/crash/ledger.h"
#include "tests/crash/mutants.h"

namespace apogee::crash {

/// A whole broker on a disk that forgets, its clients, and a seed that says what they do and how
/// it ends: several lives, one after the other, each checked by the next.
///
/// Threads: one drives clock, network, clients and the broker's workers; only the store has threads
/// of its own. So a seed repeats all choices, and nearly always the failure.
class CrashRun {
 public:
  explicit CrashRun(std::uint64_t seed, Mutant mutant = {});
  ~CrashRun();

  /// Returns the broken promises; empty: none.
  std::vector<std::string> run();
  std::string history() const { return history_; }
  std::vector<std::string> log() const { return log_.lines(); }

 private:
  // Lives and ends.
  bool start();
  void stop_cleanly();
  void drop_broker();
  void live();
  void end_somehow();
  void make_faults();
  void crash_in_recovery();
  bool start_with_faults();
  void promises_hold();
  void promises_of_a_power_cut();

  // What clients do.
  void act();
  void make_topics();
  bool make_topic(const std::string& name, std::int32_t queues, const std::string& attributes = {});
  void send();
  void send_to(const std::string& topic, std::int32_t queue_id);
  void send_batch();
  void send_together();
  void send_kept();
  void use_passing();
  void delete_passing();
  void send_delayed();
  void send_timed();
  void recall();
  bool timer_topic_is_seen();
  void send_half();
  void end_one();
  void end(const std::string& body, Half& half, bool asked);
  void beat();
  void on_question(const protocol::CommandView& command);
  void consume();
  void commit(const std::string& group, const std::string& topic, std::int32_t queue_id,
              std::int64_t offset);
  Buffer read_plain(std::int32_t queue_id, std::int64_t offset);
  void read_what_is_new();
  void pop();
  void let_time_pass();
  struct Outgoing;
  void submit(Outgoing message);
  void await_all();
  std::string new_body();
  template <class Header>
  std::optional<remoting::OwnedCommand> ask(std::int32_t code, const Header& header,
                                            Buffer body = {});
  void send_back(std::int32_t queue_id, std::int64_t queue_offset, std::int64_t physical_offset,
                 const std::string& body);
  std::size_t pop_from(std::int32_t queue_id, bool ack_all);
  void acknowledge(const std::string& handle, const std::string& topic, std::int32_t queue_id,
                   std::int64_t offset, const std::string& body);
  void change_invisible(const std::string& handle, const std::string& topic, std::int32_t queue_id,
                        std::int64_t offset);

  // What must hold.
  struct Found {
    std::string body, key;
    std::int64_t queue_offset, store_timestamp;
  };
  void check();
  void check_end();
  void pass_a_second(int number);
  void check_all_came();
  void check_queues(const std::string& topic, std::int32_t queues,
                    std::map<std::string, Sent>& known);
  void check_kept();
  void check_late(const std::string& topic, std::map<std::string, Sent>& known, bool all_due);
  void check_transactions(bool all_ended);
  void check_returned(bool all_due);
  void check_committed();
  std::int64_t stands_at(const std::string& group, const std::string& topic, std::int32_t queue);
  void check_topics();
  enum class Offsets { kDense, kWithGaps };
  std::vector<Found> read_all(const std::string& topic, std::int32_t queue_id,
                              Offsets offsets = Offsets::kDense);
  std::int64_t max_offset(const std::string& topic, std::int32_t queue_id);

  std::mt19937_64 random_;
  const Mutant mutant_;
  store::StoreConfig store_config_;
  bool sync_flush_ = false;

  testing::ManualClock clock_;
  testing::ForgetfulDisk disk_{[this] { return clock_.wall_ms(); }};
  testing::Network network_{clock_};
  InlineExecutor workers_;
  Random env_random_{1};
  testing::RecordingLogger log_;
  std::unique_ptr<FileSystem> mutated_files_;
  std::unique_ptr<Env> env_, client_env_;
  std::unique_ptr<broker::Broker> broker_;
  /// The broker asks producers about open transactions.
  struct Questions final : remoting::RequestHandler {
    explicit Questions(CrashRun& of) : run{of} {}
    void on_requests(std::span<const remoting::Request> requests) override {
      for (const remoting::Request& each : requests) run.on_question(each.command);
    }
    CrashRun& run;
  } questions_{*this};
  std::unique_ptr<remoting::Client> client_;
  std::string address_, error_, history_;

  Ledger ledger_;
  std::uint64_t next_body_ = 0, next_topic_ = 0;
  bool killed_ = false;      ///< The last life ended so: what was written is in memory.
  std::size_t waiting_ = 0;  ///< Requests without an answer yet.
  bool topics_made_ = false, passing_made_ = false;
  bool deletion_in_doubt_ = false;  ///< Of "passing": it was asked for and not answered.
  bool decides_ = false;            ///< The producers know by now what became of each transaction.
  std::map<std::string, std::string> recall_handles_;  ///< By body.
  std::int64_t timer_offset_ = -1;  ///< Of the timer topic's last acknowledged message.
};

}  // namespace apogee::crash
