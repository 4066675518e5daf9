#include <set>

#include "admin/asking.h"
#include "base/properties_file.h"
#include "protocol/codes.h"

namespace apogee {
namespace {

namespace request = protocol::request_code;
using admin::Asking;

std::map<std::string, std::string> table_of(std::string_view text) {
  std::map<std::string, std::string> table;
  if (auto properties = parse_properties(text)) {
    for (Property& each : *properties) table[std::move(each.key)] = std::move(each.value);
  }
  return table;
}

Result<std::map<std::string, std::string>> config_of(Asking&& ask, const std::string& address,
                                                     std::int32_t code) {
  auto answer = ask.server(address, code, protocol::NoFields{});
  if (!answer) return answer.error();
  return table_of(answer->body);
}

}  // namespace

Admin::Admin(std::shared_ptr<client::Instance> instance) : instance_{std::move(instance)} {}

void Admin::post(std::function<void()> work) const {
  instance_->on_asking_thread([work = std::move(work)] {
    const client::CallbackScope scope{client::CallbackScope::Where::kOwnThread};
    work();
  });
}

/// Here, so that a program that administers nothing links nothing of it.
Admin Client::admin() const {
  return Admin{instance_};
}

// ---- Clusters and name servers

Result<std::vector<admin::Broker>> Admin::brokers(Milliseconds timeout) {
  auto info = Asking{*instance_, timeout}.clusters();
  if (!info) return info.error();
  std::vector<admin::Broker> all;
  for (const auto& [name, data] : info->broker_address_table)
    for (const auto& [id, address] : data.broker_addresses)
      all.push_back({.cluster = data.cluster, .name = name, .id = id, .address = address});
  return all;
}

Result<std::vector<std::string>> Admin::masters(const std::string& cluster, Milliseconds timeout) {
  auto all = brokers(timeout);
  if (!all) return all.error();
  std::vector<std::string> addresses;
  for (admin::Broker& each : *all)
    if (each.id == 0 && (cluster.empty() || each.cluster == cluster))
      addresses.push_back(std::move(each.address));
  if (addresses.empty())
    return Error{Errc::kNotFound, cluster.empty()
                                      ? std::string{"no broker is registered at the name server"}
                                      : "no master of a cluster named " + cluster +
                                            " is registered; `clusterList` shows those that are"};
  return addresses;
}

Result<std::string> Admin::master_of(const std::string& broker_name, Milliseconds timeout) {
  auto all = brokers(timeout);
  if (!all) return all.error();
  for (admin::Broker& each : *all)
    if (each.id == 0 && each.name == broker_name) return std::move(each.address);
  return Error{Errc::kNotFound, "no master of a broker named " + broker_name + " is registered"};
}

std::vector<std::string> Admin::name_servers() const {
  return instance_->name_servers().all();
}

Result<std::map<std::string, std::string>> Admin::name_server_config(const std::string& name_server,
                                                                     Milliseconds timeout) {
  return config_of(Asking{*instance_, timeout}, name_server, request::kGetNameServerConfig);
}

Result<Ok> Admin::update_name_server_config(const std::string& name_server, const std::string& key,
                                            const std::string& value, Milliseconds timeout) {
  const Buffer body = property_line(key, value);
  return Asking{*instance_, timeout}.done_by(name_server, request::kUpdateNameServerConfig,
                                             protocol::NoFields{}, as_bytes(body));
}

Result<std::int32_t> Admin::wipe_write_perm(const std::string& name_server,
                                            const std::string& broker_name, Milliseconds timeout) {
  auto answer = Asking{*instance_, timeout}.server(name_server, request::kWipeWritePermOfBroker,
                                                   protocol::BrokerNameRequest{broker_name});
  if (!answer) return answer.error();
  auto header = remoting::read_header<protocol::WipeWritePermResponse>(*answer);
  if (!header) return header.error();
  return header->wipe_topic_count;
}

Result<std::int32_t> Admin::add_write_perm(const std::string& name_server,
                                           const std::string& broker_name, Milliseconds timeout) {
  auto answer = Asking{*instance_, timeout}.server(name_server, request::kAddWritePermOfBroker,
                                                   protocol::BrokerNameRequest{broker_name});
  if (!answer) return answer.error();
  auto header = remoting::read_header<protocol::AddWritePermResponse>(*answer);
  if (!header) return header.error();
  return header->add_topic_count;
}

// ---- Brokers

Result<std::map<std::string, std::string>> Admin::broker_status(const std::string& broker,
                                                                Milliseconds timeout) {
  auto table = Asking{*instance_, timeout}.body_of<protocol::KvTable>(
      broker, request::kGetBrokerRuntimeInfo, protocol::NoFields{});
  if (!table) return table.error();
  return std::move(table->table);
}

Result<std::map<std::string, std::string>> Admin::broker_config(const std::string& broker,
                                                                Milliseconds timeout) {
  return config_of(Asking{*instance_, timeout}, broker, request::kGetBrokerConfig);
}

Result<Ok> Admin::update_broker_config(const std::string& broker, const std::string& key,
                                       const std::string& value, Milliseconds timeout) {
  const Buffer body = property_line(key, value);
  return Asking{*instance_, timeout}.done_by(broker, request::kUpdateBrokerConfig,
                                             protocol::NoFields{}, as_bytes(body));
}

Result<admin::BrokerProgress> Admin::broker_progress(const std::string& broker, bool ordered_only,
                                                     Milliseconds timeout) {
  auto list = Asking{*instance_, timeout}.body_of<protocol::ConsumeStatsList>(
      broker, request::kGetBrokerConsumeStats, protocol::BrokerConsumeStatsRequest{ordered_only});
  if (!list) return list.error();
  admin::BrokerProgress all{
      .groups = {}, .lag = list->total_diff, .in_flight = list->total_inflight_diff};
  for (const auto& groups : list->consume_stats_list) {
    for (const auto& [name, stats] : groups) {
      admin::GroupProgress group;
      group.group = name;
      for (const auto& each : stats) {
        group.consumed_per_second += each.consume_tps;
        for (const auto& [queue, offsets] : each.offset_table)
          group.queues.push_back(admin::progress_of(queue, offsets));
      }
      all.groups.push_back(std::move(group));
    }
  }
  return all;
}

Result<admin::Statistics> Admin::statistics(const std::string& broker, const std::string& name,
                                            const std::string& key, Milliseconds timeout) {
  auto data = Asking{*instance_, timeout}.body_of<protocol::BrokerStatsData>(
      broker, request::kViewBrokerStatsData, protocol::ViewStatsRequest{name, key});
  if (!data) return data.error();
  const auto window = [](const protocol::StatsWindow& of) {
    return admin::StatisticsWindow{of.sum, of.tps, of.average_per_time};
  };
  return admin::Statistics{window(data->minute), window(data->hour), window(data->day)};
}

Result<Ok> Admin::clean_expired_queues(const std::string& broker, Milliseconds timeout) {
  return Asking{*instance_, timeout}.done_by(broker, request::kCleanExpiredConsumeQueue,
                                             protocol::NoFields{});
}

Result<Ok> Admin::delete_expired_log(const std::string& broker, Milliseconds timeout) {
  return Asking{*instance_, timeout}.done_by(broker, request::kDeleteExpiredCommitLog,
                                             protocol::NoFields{});
}

Result<Ok> Admin::clean_unused_topics(const std::string& broker, Milliseconds timeout) {
  return Asking{*instance_, timeout}.done_by(broker, request::kCleanUnusedTopic,
                                             protocol::NoFields{});
}

namespace {

/// The parts of HARuntimeInfo that a master leaves as they are.
struct ReplicaBody {
  std::string addr;
  std::int64_t slave_ack_offset = 0, diff = 0, transferred = 0, from = 0;
  bool in_sync = false;
  using Self = ReplicaBody;
  static constexpr auto kFields =
      MemberList{protocol::Field{"addr", &Self::addr},
                 protocol::Field{"slaveAckOffset", &Self::slave_ack_offset},
                 protocol::Field{"diff", &Self::diff},
                 protocol::Field{"inSync", &Self::in_sync},
                 protocol::Field{"transferredByteInSecond", &Self::transferred},
                 protocol::Field{"transferFromWhere", &Self::from}};
};
struct ReplicaClientBody {
  std::string master_addr;
  std::int64_t transferred = 0, max_offset = 0, last_read = 0, last_write = 0, master_flush = 0;
  using Self = ReplicaClientBody;
  static constexpr auto kFields =
      MemberList{protocol::Field{"masterAddr", &Self::master_addr},
                 protocol::Field{"transferredByteInSecond", &Self::transferred},
                 protocol::Field{"maxOffset", &Self::max_offset},
                 protocol::Field{"lastReadTimestamp", &Self::last_read},
                 protocol::Field{"lastWriteTimestamp", &Self::last_write},
                 protocol::Field{"masterFlushOffset", &Self::master_flush}};
};
struct HaBody {
  std::vector<ReplicaBody> replicas;
  ReplicaClientBody client;
  std::int32_t in_sync = 0;
  bool master = true;
  std::int64_t max_offset = 0;
  using Self = HaBody;
  static constexpr auto kFields = MemberList{
      protocol::Field{"haConnectionInfo", &Self::replicas},
      protocol::Field{"haClientRuntimeInfo", &Self::client},
      protocol::Field{"inSyncSlaveNums", &Self::in_sync}, protocol::Field{"master", &Self::master},
      protocol::Field{"masterCommitLogMaxOffset", &Self::max_offset}};
};

}  // namespace

Result<admin::HaStatus> Admin::ha_status(const std::string& broker, Milliseconds timeout) {
  auto body = Asking{*instance_, timeout}.body_of<HaBody>(broker, request::kGetBrokerHaStatus,
                                                          protocol::NoFields{});
  if (!body) return body.error();
  admin::HaStatus status;
  status.master = body->master;
  status.max_offset = body->master ? body->max_offset : body->client.max_offset;
  status.replicas_in_sync = body->in_sync;
  for (const ReplicaBody& each : body->replicas)
    status.replicas.push_back({.address = each.addr,
                               .ack_offset = each.slave_ack_offset,
                               .behind = each.diff,
                               .bytes_per_second = each.transferred,
                               .from_offset = each.from,
                               .in_sync = each.in_sync});
  status.master_address = body->client.master_addr;
  status.bytes_per_second = body->client.transferred;
  status.master_flush_offset = body->client.master_flush;
  status.last_read = admin::time_of(body->client.last_read);
  status.last_written = admin::time_of(body->client.last_write);
  return status;
}

}  // namespace apogee
