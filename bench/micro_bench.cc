// micro_bench: the hot paths one by one, each with the expectation it guards. Times say how a
// change compares on a quiet machine; bench/instructions counts instructions of the same code,
// which a noisy machine does not change.
//
// MICRO_ITERATIONS=N runs each exactly N times, for counting.

#include <cstdlib>
#include <filesystem>

#include <benchmark/benchmark.h>
#include <unistd.h>

#include "base/crc.h"
#include "bench/client_sends.h"
#include "broker/sql92.h"
#include "broker/subscription.h"
#include "protocol/codes.h"
#include "protocol/command.h"
#include "protocol/headers.h"
#include "protocol/message.h"
#include "remoting/client.h"
#include "store/message_store.h"

namespace {

using namespace apogee;

constexpr std::size_t kBodyBytes = 128;
constexpr int kBatch = 64;  // requests found in one read of a busy connection

std::string properties() {
  Buffer out;
  protocol::append_property(out, protocol::property::kUniqueKey,
                            "7F0000010B5A18B4AAC2000000000000");
  protocol::append_property(out, protocol::property::kKeys, "order-17");
  protocol::append_property(out, protocol::property::kTags, "paid");
  protocol::append_property(out, protocol::property::kWait, "true");
  protocol::append_property(out, "amount", "120");
  protocol::append_property(out, "region", "eu");
  return out;
}

Buffer send_request(protocol::Serialization serialization) {
  const std::string given = properties();
  protocol::SendMessageV2 header{};
  header.producer_group = "checkout";
  header.topic = "orders";
  header.default_topic = "TBW102";
  header.queue_id = 3;
  header.properties = given;
  header.reconsume_times = 0;
  header.unit_mode = false;
  header.batch = false;
  Buffer out;
  protocol::encode_command(
      out,
      {.code = protocol::request_code::kSendMessageV2, .opaque = 7, .serialization = serialization},
      header, as_bytes(std::string(kBodyBytes, 'x')));
  return out;
}

Buffer record() {
  Buffer out;
  const std::string body(kBodyBytes, 'x'), given = properties(), host{"\x7f\0\0\1", 4};
  (void)protocol::encode_message(out, {.queue_id = 3,
                                       .born_host = as_bytes(host),
                                       .store_host = as_bytes(host),
                                       .body = as_bytes(body),
                                       .topic = "orders",
                                       .properties = given});
  return out;
}

/// Cutting one read of pipelined sends into frames and their headers into typed structs: nothing is
/// allocated, bodies are not touched.
void decode_sends(benchmark::State& state, protocol::Serialization serialization) {
  Buffer stream;
  for (int i = 0; i < kBatch; ++i) stream += send_request(serialization);
  protocol::CommandDecoder decoder;
  for (auto _ : state) {
    for (Bytes rest = as_bytes(stream); !rest.empty();) {
      const auto frame = protocol::decode_frame(rest);
      const auto command = decoder.decode(**frame);
      auto header = protocol::read_header<protocol::SendMessageV2>(*command);
      benchmark::DoNotOptimize(header);
      rest = rest.subspan((*frame)->size);
    }
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}

/// The answers to them, gathered in one buffer.
void encode_answers(benchmark::State& state, protocol::Serialization serialization) {
  Buffer out;
  for (auto _ : state) {
    out.clear();
    for (int i = 0; i < kBatch; ++i)
      protocol::encode_command(
          out,
          {.code = 0, .opaque = i, .flag = protocol::kResponseFlag, .serialization = serialization},
          kStored);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}

/// Making a record: one copy of body and properties, one CRC of the body.
void encode_record(benchmark::State& state) {
  const std::string body(kBodyBytes, 'x'), given = properties(), host{"\x7f\0\0\1", 4};
  Buffer out;
  for (auto _ : state) {
    out.clear();
    auto encoded = protocol::encode_message(out, {.queue_id = 3,
                                                  .born_host = as_bytes(host),
                                                  .store_host = as_bytes(host),
                                                  .body = as_bytes(body),
                                                  .topic = "orders",
                                                  .properties = given});
    benchmark::DoNotOptimize(encoded);
  }
  state.SetItemsProcessed(state.iterations());
}

/// What the dispatcher does with each record before queue and index.
void check_record(benchmark::State& state) {
  const Buffer bytes = record();
  for (auto _ : state) {
    auto checked = protocol::check_record(as_bytes(bytes), false);
    benchmark::DoNotOptimize(checked);
  }
  state.SetItemsProcessed(state.iterations());
}

/// Hash of "topic#unique key" for the index: a few instructions a byte.
void hash_key(benchmark::State& state) {
  const std::string key = "orders#7F0000010B5A18B4AAC2000000000000";
  for (auto _ : state) benchmark::DoNotOptimize(protocol::java_hash(key));
  state.SetItemsProcessed(state.iterations());
}

/// A compiled SQL92 expression over a record: properties are looked at where they are.
void filter_sql92(benchmark::State& state) {
  protocol::SubscriptionData data;
  data.topic = "orders";
  data.sub_string = "amount > 100 AND region IN ('eu', 'us') AND TAGS = 'paid'";
  data.expression_type = "SQL92";
  const broker::SubscriptionFilter filter{broker::make_subscription(data)};
  const Buffer bytes = record();
  for (auto _ : state) benchmark::DoNotOptimize(filter.matches_record(as_bytes(bytes)));
  state.SetItemsProcessed(state.iterations());
}

/// A timeout that is set and ends early, as most do, while so many others wait.
void clock_timer(benchmark::State& state, std::int64_t others) {
  auto clock = make_system_clock();
  const Clock::Instant later = clock->now() + 1h;
  for (std::int64_t i = 0; i < others; ++i) clock->run_at(later + i * 1ms, [] {});
  for (auto _ : state) clock->cancel(clock->run_at(later + others / 2 * 1ms, [] {}));
  state.SetItemsProcessed(state.iterations());
}

/// Appending a batch to a real store: one hold of the append lock and one write call for all of it.
void append_batch(benchmark::State& state) {
  const std::string directory =
      std::filesystem::temp_directory_path() / ("micro_bench." + std::to_string(::getpid()));
  {
    auto clock = make_system_clock();
    auto files = make_posix_files();
    auto workers = make_thread_pool(1, "work");
    auto network = remoting::make_transport(1);
    Random random{1};
    auto log = make_logger({}, LogLevel::kError);
    Env env{*clock, *files, *network, *workers, random, *log};
    store::StoreEvents events;
    store::StoreConfig config;
    config.root = directory;
    config.commit_log_file_bytes = 64 << 20;
    config.index_slots = 50'000;
    config.index_units = 200'000;
    auto store = store::MessageStore::open(env, config, events);
    (*store)->start();
    std::vector<Buffer> records(kBatch, record());
    std::vector<store::Append> appends(kBatch);
    std::vector<store::Append*> batch;
    for (int i = 0; i < kBatch; ++i) {
      auto& each = appends[static_cast<std::size_t>(i)];
      auto& bytes = records[static_cast<std::size_t>(i)];
      each = {.topic = "orders",
              .queue_id = i % 16,
              .records = std::as_writable_bytes(std::span{bytes.data(), bytes.size()})};
      batch.push_back(&each);
    }
    for (auto _ : state) (*store)->append(batch);
    state.SetItemsProcessed(state.iterations() * kBatch);
  }
  std::filesystem::remove_all(directory);
}

}  // namespace

int main(int argc, char** argv) {
  const char* const fixed = std::getenv("MICRO_ITERATIONS");
  const auto add = [&](const char* name, auto run) {
    auto* const made = benchmark::RegisterBenchmark(name, run);
    if (fixed != nullptr) made->Iterations(std::atoll(fixed));
  };
  using protocol::Serialization;
  add("decode_sends/json",
      [](benchmark::State& state) { decode_sends(state, Serialization::kJson); });
  add("decode_sends/binary",
      [](benchmark::State& state) { decode_sends(state, Serialization::kBinary); });
  add("encode_answers/json",
      [](benchmark::State& state) { encode_answers(state, Serialization::kJson); });
  add("encode_answers/binary",
      [](benchmark::State& state) { encode_answers(state, Serialization::kBinary); });
  add("encode_record", encode_record);
  add("check_record", check_record);
  add("hash_key", hash_key);
  add("filter_sql92", filter_sql92);
  add("clock_timer/100", [](benchmark::State& state) { clock_timer(state, 100); });
  add("clock_timer/100000", [](benchmark::State& state) { clock_timer(state, 100'000); });
  add("client_sends/1", [](benchmark::State& state) { client_sends(state, 1); });
  add("client_sends/64", [](benchmark::State& state) { client_sends(state, kBatch); });
  add("append_batch", append_batch);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
