#include "broker/cold_reads.h"

#include "base/options.h"
#include "broker/context.h"
#include "protocol/codes.h"
#include "protocol/field.h"
#include "protocol/headers.h"
#include "protocol/names.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
namespace request = protocol::request_code;
using remoting::Answer;

constexpr auto kHeldLeast = 3s;                 // coldHoldTimeoutMillis
constexpr std::int64_t kRememberedMs = 60'000;  // cgColdAccResideTimeoutMills
constexpr std::size_t kHeldMax = 10'000, kLimitsMax = 100'000;

}  // namespace

void ColdReads::count(std::string_view group, std::int64_t bytes) {
  if (!config_.now().cold_flow_control || bytes <= 0 || protocol::is_system_group(group)) return;
  const std::int64_t now = env_.clock.wall_ms();
  std::lock_guard lock{mutex_};
  const auto [at, is_new] = groups_.try_emplace(std::string{group});
  if (is_new) at->second.created_ms = now;
  at->second.bytes += bytes;
  at->second.last_ms = now;
  all_ += bytes;
}

bool ColdReads::is_over_limit(std::string_view group) const {
  const BrokerConfig& config = config_.now();
  if (!config.cold_flow_control) return false;
  std::lock_guard lock{mutex_};
  const auto found = groups_.find(group);
  if (found == groups_.end()) return false;
  const auto own = limits_.find(group);
  const std::int64_t limit = own == limits_.end() ? config.cold_group_bytes : own->second;
  return found->second.bytes >= limit || all_ >= config.cold_all_bytes;
}

bool ColdReads::set_limit(const std::string& group, std::int64_t bytes) {
  std::lock_guard lock{mutex_};
  if (limits_.size() >= kLimitsMax && !limits_.contains(group)) return false;
  limits_[group] = bytes;
  return true;
}

void ColdReads::remove_limit(const std::string& group) {
  std::lock_guard lock{mutex_};
  limits_.erase(group);
}

bool ColdReads::hold(std::function<void()> resume) {
  std::lock_guard lock{mutex_};
  if (held_.size() >= kHeldMax) return false;
  held_.push_back({env_.clock.now(), std::move(resume)});
  return true;
}

void ColdReads::end_period() {
  std::vector<std::function<void()>> due;
  {
    std::lock_guard lock{mutex_};
    const std::int64_t now = env_.clock.wall_ms();
    all_ = 0;
    std::erase_if(groups_,
                  [&](const auto& each) { return now - each.second.last_ms >= kRememberedMs; });
    for (auto& [group, reads] : groups_) reads.bytes = 0;
    std::erase_if(held_, [&](Held& each) {
      if (env_.clock.now() - each.since < kHeldLeast) return false;
      due.push_back(std::move(each.resume));
      return true;
    });
  }
  for (const auto& resume : due) resume();
}

protocol::ColdDataFlow ColdReads::table() const {
  std::lock_guard lock{mutex_};
  return {.runtime_table = {groups_.begin(), groups_.end()},
          .config_table = {limits_.begin(), limits_.end()},
          .group_threshold = config_.now().cold_group_bytes,
          .global_threshold = config_.now().cold_all_bytes,
          .global_accumulated = all_};
}

namespace {

/// All of them or none.
Answer set_limits(ColdReads& cold_reads, std::string_view text) {
  const auto properties = parse_properties(text);
  if (!properties) return Answer::error(code::kSystemError, properties.error().detail);
  std::vector<std::pair<std::string, std::int64_t>> limits;
  for (const auto& [group, value, line] : *properties)
    if (auto& limit = limits.emplace_back(group, 0);
        !protocol::from_text(value, limit.second) || limit.second < 0)
      return Answer::error(
          code::kInvalidParameter,
          fmt::format("the threshold of {} is not a number of bytes: {}", group, value));
  for (const auto& [group, limit] : limits)
    if (!cold_reads.set_limit(group, limit))
      return Answer::error(code::kSystemError, "too many groups have a threshold of their own");
  return {};
}

/// AdminBrokerProcessor.setCommitLogReadaheadMode.
Answer set_read_ahead(store::MessageStore& store, const protocol::ReadAheadRequest& header) {
  constexpr std::int32_t kNormal = 0, kRandom = 1;  // of madvise()
  if (header.mode != kNormal && header.mode != kRandom)
    return Answer::error(code::kInvalidParameter, "set commitlog readahead mode param value error");
  store::StoreConfig next = store.config();
  next.read_ahead = header.mode == kNormal;
  store.change_config(std::move(next));
  Answer answer;
  answer.remark = fmt::format("set commitlog readahead mode success, mode: {}", header.mode);
  return answer;
}

}  // namespace

void add_cold_reads(remoting::Processors& processors, Context& context) {
  using protocol::NoFields;
  using remoting::OwnedCommand;
  using remoting::PeerPtr;
  ColdReads& cold_reads = *context.cold_reads;
  processors.on_worker_code<NoFields>(
      request::kUpdateColdDataFlowCtrConfig,
      [&](const NoFields&, const OwnedCommand& command, const PeerPtr&) {
        return set_limits(cold_reads, command.body);
      });
  processors.on_worker_code<NoFields>(
      request::kRemoveColdDataFlowCtrConfig,
      [&](const NoFields&, const OwnedCommand& command, const PeerPtr&) {
        cold_reads.remove_limit(std::string{std::string_view{command.body}});
        return Answer{};
      });
  processors.on_worker_code<NoFields>(request::kGetColdDataFlowCtrInfo,
                                      [&](const NoFields&, const OwnedCommand&, const PeerPtr&) {
                                        return Answer::with_body(encode_body(cold_reads.table()));
                                      });
  processors.on_worker<protocol::ReadAheadRequest>(
      [&](const protocol::ReadAheadRequest& header, const OwnedCommand&, const PeerPtr&) {
        return set_read_ahead(context.store, header);
      });
}

}  // namespace apogee::broker
