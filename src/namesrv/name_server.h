#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>

#include "base/env.h"
#include "base/options.h"
#include "namesrv/kv_config.h"
#include "namesrv/routes.h"
#include "remoting/client.h"
#include "remoting/processors.h"
#include "remoting/server.h"

namespace apogee::namesrv {

/// Keys of Apache's NamesrvConfig; defaults are Apache's.
struct NameServerConfig {
  std::string home;
  std::string kv_config_path;
  std::string config_store_path;
  bool order_message_enable = false, return_order_topic_config = true,
       support_acting_master = false, notify_min_broker_id_changed = false;
  bool enable_all_topic_list = true, enable_topic_list = true, need_wait_for_service = false,
       delete_topic_with_registration = false;
  std::int32_t wait_seconds_for_service = 45, scan_interval_ms = 5'000;
  std::string log_dir;
  using Self = NameServerConfig;
  static constexpr auto kOptions = MemberList{
      PlainOption{"rocketmqHome", &Self::home, "Accepted and unused: nothing is read from there."},
      PlainOption{"kvConfigPath", &Self::kv_config_path,
                  "File of the key-value configuration; empty: ~/namesrv/kvConfig.json."},
      PlainOption{"configStorePath", &Self::config_store_path,
                  "File that configuration updates are written to; empty: the file given with -c."},
      PlainOption{"orderMessageEnable", &Self::order_message_enable,
                  "Put ORDER_TOPIC_CONFIG into routes.", Change::kAtRunTime},
      PlainOption{"returnOrderTopicConfigToBroker", &Self::return_order_topic_config,
                  "Tell brokers the order topics when they register.", Change::kAtRunTime},
      PlainOption{"supportActingMaster", &Self::support_acting_master,
                  "Present the smallest replica of a group without master."},
      PlainOption{"notifyMinBrokerIdChanged", &Self::notify_min_broker_id_changed,
                  "Tell a group's members when its smallest id changes."},
      PlainOption{"enableAllTopicList", &Self::enable_all_topic_list,
                  "Serve the list of all topics.", Change::kAtRunTime},
      PlainOption{"enableTopicList", &Self::enable_topic_list,
                  "Serve lists of topics by cluster and unit.", Change::kAtRunTime},
      PlainOption{"needWaitForService", &Self::need_wait_for_service,
                  "Refuse route queries until waitSecondsForService after the start.",
                  Change::kAtRunTime},
      Option{"waitSecondsForService", &Self::wait_seconds_for_service, 0, 86'400,
             "See needWaitForService, in seconds.", Change::kAtRunTime},
      PlainOption{"deleteTopicWithBrokerRegistration", &Self::delete_topic_with_registration,
                  "Topics missing from a broker's new table are deleted."},
      Option{"scanNotActiveBrokerInterval", &Self::scan_interval_ms, 10, 600'000,
             "How often silent brokers are looked for, in ms."},
      PlainOption{"logDir", &Self::log_dir, "Directory of namesrv.log; empty: standard error."},
      IgnoredOption{"productEnvName", "Set by Apache's scripts, read by nobody."},
      IgnoredOption{"clusterTest", "A test mode of Apache's."},
      IgnoredOption{"enableControllerInNamesrv", "There is no controller yet."},
      IgnoredOption{"clientRequestThreadPoolNums", "Requests are served by the io threads."},
      IgnoredOption{"clientRequestThreadPoolQueueCapacity",
                    "Requests are served by the io threads."},
      IgnoredOption{"defaultThreadPoolNums", "Requests are served by the io threads."},
      IgnoredOption{"defaultThreadPoolQueueCapacity", "Requests are served by the io threads."},
      IgnoredOption{"unRegisterBrokerQueueCapacity", "Unregistering is done at once."},
      IgnoredOption{"configBlackList",
                    "Only keys marked as changeable at run time can be updated."},
      IgnoredOption{"serverWorkerThreads", "See ioThreads."},
      IgnoredOption{"serverCallbackExecutorThreads", "See ioThreads."},
      IgnoredOption{"serverSelectorThreads", "See ioThreads."},
      IgnoredOption{"serverOnewaySemaphoreValue",
                    "Back-pressure is by bytes: serverMaxUnsentBytes."},
      IgnoredOption{"serverAsyncSemaphoreValue",
                    "Back-pressure is by bytes: serverMaxUnsentBytes."},
      IgnoredOption{"useEpollNativeSelector", "epoll is always used."}};
};

struct Config {
  NameServerConfig name_server;
  remoting::ServerConfig server;
  std::string path;  ///< Of the file it was read from; empty: none.
  std::vector<OptionView> options();
};

/// Routes, key-value configuration, and the server that answers for them.
/// Threads: constructed and destroyed by one thread; requests run on io threads, what writes files
/// on the workers.
class NameServer {
 public:
  /// kExists: the port is in use. Config's port 0 is chosen by the system (tests); main() sets
  /// 9876.
  static Result<std::unique_ptr<NameServer>> start(Env& env, Config config);
  ~NameServer();
  Endpoint local() const { return server_->local(); }
  const Routes& routes() const { return routes_; }
  /// The request codes it has an answer to, with why one is refused; empty: it is served.
  std::map<std::int32_t, std::string> codes() const;

 private:
  class Requests;
  NameServer(Env& env, Config config);
  void add_processors();
  void add_registration();
  void add_routes();
  void add_lists();
  void add_kv();
  void add_configuration();
  remoting::Answer route(const protocol::RouteRequest& header, const remoting::Request& request);
  remoting::Answer update_configuration(std::string_view text);
  void tell(const std::vector<Notice>& notices);

  Env& env_;
  Config config_;
  mutable std::shared_mutex config_mutex_;  // guards config_.name_server's run-time keys
  std::mutex update_mutex_;  // one update at a time; taken before config_mutex_, held while writing
  Routes routes_;
  KvConfig kv_;
  const Clock::Instant started_;
  std::unique_ptr<remoting::Client> client_;  // for notices; connects when there is one to send
  std::unique_ptr<Requests> requests_;
  std::unique_ptr<Periodic> scan_;
  std::unique_ptr<remoting::Server> server_;

  struct CachedRoute {
    std::uint64_t version = 0;
    Buffer quoted, bare;  // standard JSON, and with unquoted broker ids for clients before 4.9.4
  };
  std::shared_mutex cache_mutex_;
  std::unordered_map<std::string, std::shared_ptr<const CachedRoute>>
      cache_;  // guarded by cache_mutex_; bounded
};

}  // namespace apogee::namesrv
