#include "broker/sending.h"

#include <atomic>
#include <deque>

#include "broker/send_back.h"
#include "broker/timing.h"
#include "protocol/headers.h"
#include "protocol/names.h"
#include "protocol/recall_handle.h"
#include "store/compaction_log.h"
#include "store/offset_texts.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
namespace property = protocol::property;
using protocol::SendMessageRequest;
using remoting::Request;

constexpr std::int32_t kTopicSysUnit = 1, kTopicSysUnitSub = 2;
constexpr std::size_t kKeptBytes = 1 << 20;  // of encoded records, per io thread between batches
constexpr std::int32_t kWaitingForTopicMax = 1'024;

std::string_view trace_text(const Context& context) {
  return context.settings().trace_on ? "true" : "false";
}

TopicPtr create_topic(Context& context, const SendMessageRequest& header) {
  const bool retry = protocol::is_retry_topic(header.topic);
  const std::int32_t flags = !header.unit_mode.value_or(false) ? 0
                             : retry                           ? kTopicSysUnitSub
                                                               : kTopicSysUnit;
  TopicPtr topic = context.topics.create_on_send(header.topic, header.default_topic,
                                                 header.default_topic_queue_nums, flags);
  if (topic || !retry) return topic;
  return context.topics.create_if_absent(header.topic, 1,
                                         protocol::perm::kRead | protocol::perm::kWrite, flags);
}

/// One send on its way: what was asked, what is stored, how to answer. Reused from batch to batch,
/// buffers keep their capacity.
struct Send {
  const Request* request = nullptr;
  SendMessageRequest header;
  std::string topic;  // where it goes: may differ from the header's
  std::int32_t queue_id = 0;
  std::int32_t reply_queue_id = 0;
  std::string unique_key, message_ids, recall_handle;
  Buffer properties, records;
  bool wait_durable = true, inner_batch = false;
  MessageType type = MessageType::kNormal;
  store::Append append;
};

/// What an answer to a stored send says.
void answer_stored(const Context& context, const remoting::Responder& responder,
                   std::int32_t response, std::string_view message_ids, std::string_view unique_key,
                   std::string_view recall_handle, std::int32_t queue_id, std::int64_t queue_offset,
                   bool inner_batch) {
  protocol::SendMessageResponse header{
      .message_id = message_ids, .queue_id = queue_id, .queue_offset = queue_offset};
  header.region = context.settings().region_id;
  header.trace_on = trace_text(context);
  if (!unique_key.empty()) header.transaction_id = unique_key;
  if (inner_batch) header.batch_unique_id = unique_key;
  if (!recall_handle.empty()) header.recall_handle = recall_handle;
  responder.reply(response, {}, header);
}

/// Answers a send that was not stored. Java clients read extFields of every answer.
void answer_refused(const Context& context, const remoting::Responder& responder,
                    std::int32_t response, std::string_view remark) {
  responder.reply(response, remark,
                  protocol::SendMessageRefusal{.region = context.settings().region_id,
                                               .trace_on = trace_text(context)});
}

/// A stored send whose answer waits for the disk; owns what the answer needs.
struct Stored {
  remoting::Responder responder;
  std::string message_ids, unique_key, recall_handle;
  std::int32_t queue_id;
  std::int64_t queue_offset;
  bool inner_batch;
};

/// What a client's properties ask of the broker.
struct Wishes {
  std::string_view unique_key;
  std::optional<std::string_view> delay;
  TimerWish timer;
  bool prepared = false, wait = true, inner_num = false, sharded = false;

  /// Is this a property of the broker's own, which replaces what a client (or an earlier store) has
  /// put there?
  static bool is_brokers(std::string_view name) {
    return name == property::kPopCheckpoint || name == property::kRegion ||
           name == property::kTraceOn || name == property::kCluster;
  }
  MessageType type() const {
    if (prepared) return MessageType::kTransaction;
    if (sharded) return MessageType::kFifo;
    return delay || timer.any() ? MessageType::kDelay : MessageType::kNormal;
  }
  void note(std::string_view name, std::string_view value) {
    if (name == property::kUniqueKey)
      unique_key = value;
    else if (name == property::kDelay)
      delay = value;
    else if (name == property::kTransactionPrepared)
      prepared = value == "true";
    else if (name == property::kWait)
      wait = value != "false";
    else if (name == property::kShardingKey)
      sharded = true;
    else if (name == property::kInnerNum)
      inner_num = true;
    else
      timer.note(name, value);
  }
};

class Sending {
 public:
  Sending(Context& context, const SendSettings& settings)
      : context_{context}, settings_{settings} {}

  /// On the connection's loop.
  void process(std::span<const Request> requests) { process(requests, /*may_create=*/false); }

 private:
  enum class Verdict {
    kReady,
    kAnswered,
    kNeedsTopic,  ///< A topic must be made, or be on disk, first.
  };

  void process(std::span<const Request> requests, bool may_create) {
    // Per thread, so that a steady load allocates nothing: a thread has one batch under way.
    static thread_local std::deque<Send> sends;
    static thread_local std::vector<store::Append*> appends;
    static thread_local std::vector<Send*> accepted;
    if (sends.size() < requests.size()) sends.resize(requests.size());
    appends.clear();
    accepted.clear();
    std::vector<const Request*> need_topic;                 // rare
    const remoting::Peer& peer = *requests.front().peer();  // one connection's
    const protocol::Host born = protocol::host_from(peer.remote().host, peer.remote().port);
    const Clock& clock = context_.env.clock;
    const auto began = clock.now();
    TopicPtr topic;  // of the last send: neighbours mostly have the same
    for (std::size_t i = 0; i < requests.size(); ++i) {
      Send& send = sends[i];
      send.request = &requests[i];
      const Verdict verdict = prepare(send, topic, born, may_create);
      if (verdict == Verdict::kNeedsTopic) need_topic.push_back(&requests[i]);
      if (verdict != Verdict::kReady) continue;
      accepted.push_back(&send);
      appends.push_back(&send.append);
    }
    if (!appends.empty()) {
      const auto copied = clock.now();
      context_.store.append(appends);
      const auto stored = clock.now();
      finish(accepted,
             std::chrono::duration_cast<std::chrono::milliseconds>(stored - copied).count());
      context_.stats.stages.record(Stage::kCopy, copied - began);
      context_.stats.stages.record(Stage::kEncode, clock.now() - stored);
    }
    std::size_t kept = 0;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      kept += sends[i].records.capacity();
      if (kept > kKeptBytes) sends[i].records = Buffer{};
    }
    for (const Request* request : need_topic) process_on_worker(*request);
  }

  /// The rare way: a copy of the request goes through the same steps on a worker, which may make
  /// topics and waits until they are on disk. Later sends of the connection may overtake it.
  void process_on_worker(const Request& request) {
    auto token = context_.in_flight.enter();
    if (!token || waiting_for_topic_.fetch_add(1) >= kWaitingForTopicMax) {
      if (token) waiting_for_topic_.fetch_sub(1);
      answer_refused(context_, request.responder, code::kSystemBusy,
                     fmt::format("[OVERLOAD]system busy, start flow control for a while: {} sends "
                                 "wait for their topic; the slow stage is the write of topics.json "
                                 "to the disk",
                                 kWaitingForTopicMax));
      return;
    }
    auto owned = std::make_shared<remoting::OwnedCommand>(request.command);
    context_.env.workers.post([this, token, owned, responder = request.responder] {
      std::vector<protocol::ExtField> scratch;
      const protocol::CommandView view = owned->view(scratch);
      const Request again{view, responder};
      process({&again, 1}, /*may_create=*/true);
      waiting_for_topic_.fetch_sub(1);
    });
  }

  Verdict refuse(const Send& send, std::int32_t response, std::string_view remark) {
    answer_refused(context_, send.request->responder, response, remark);
    return Verdict::kAnswered;
  }
  Verdict refuse_put(const Send& send, store::PutStatus status) {
    const PutAnswer answer = put_answer(status, context_);
    return refuse(send, answer.code, answer.remark);
  }

  Verdict prepare(Send& send, TopicPtr& topic, const protocol::Host& born, bool may_create) {
    if (auto bad = read(send)) return refuse(send, code::kSystemError, bad->detail);
    if (const Verdict verdict = check(send, topic, may_create); verdict != Verdict::kReady)
      return verdict;
    send.topic = send.header.topic;
    send.queue_id = send.header.queue_id;
    if (send.queue_id < 0)
      send.queue_id = topic->write_queue_nums > 0
                          ? static_cast<std::int32_t>(context_.env.random.below(
                                static_cast<std::uint64_t>(topic->write_queue_nums)))
                          : 0;
    send.reply_queue_id = send.queue_id;
    send.recall_handle.clear();
    send.records.clear();
    send.inner_batch = false;
    if (send.header.batch.value_or(false)) return prepare_batch(send, *topic, born);
    return prepare_single(send, *topic, born, may_create);
  }

  static std::optional<Error> read(Send& send) {
    const protocol::CommandView& command = send.request->command;
    if (command.code == protocol::request_code::kSendMessage) {
      auto header = protocol::read_header<protocol::SendMessageV1>(command);
      if (!header) return header.error();
      send.header = *header;
    } else {
      auto header = protocol::read_header<protocol::SendMessageV2>(command);
      if (!header) return header.error();
      send.header = *header;
    }
    return std::nullopt;
  }

  Verdict check(Send& send, TopicPtr& topic, bool may_create) {
    if (const auto refusal =
            check_target(context_, send.header, *send.request->peer(), may_create, topic))
      return refuse(send, refusal->code, refusal->remark);
    return topic ? check_content(send, *topic) : Verdict::kNeedsTopic;
  }

  Verdict check_content(const Send& send, const protocol::TopicConfig& topic) {
    if ((send.header.sys_flag & protocol::sys_flag::kInnerBatch) != 0 && !is_batch_topic(topic))
      return refuse_put(send, store::PutStatus::kMessageIllegal);
    if (is_compaction_topic(topic) && !send.header.batch.value_or(false) &&
        !store::is_key(protocol::find_property(send.header.properties.value_or(""), property::kKeys)
                           .value_or("")))
      return refuse(send, code::kMessageIllegal, "Required message key is missing");
    if (send.request->command.body.empty())
      return refuse(send, code::kSystemError, "the message has no body");
    if (send.request->command.body.size() >
        static_cast<std::size_t>(context_.store.config().max_message_bytes))
      return refuse_put(send, store::PutStatus::kMessageIllegal);
    return Verdict::kReady;
  }

  /// One record of the send's topic and queue with these properties.
  Result<Ok> encode(Send& send, const protocol::TopicConfig& topic, const protocol::Host& born,
                    std::int32_t flag, Bytes body, std::string_view properties) {
    constexpr std::int32_t kBatchFlags =
        protocol::sys_flag::kInnerBatch | protocol::sys_flag::kNeedUnwrap;
    // Whether a message is half of a transaction is decided by its properties, not by this flag.
    std::int32_t flags = send.header.sys_flag & ~protocol::sys_flag::kTransactionMask;
    if (send.header.batch.value_or(false)) flags &= ~kBatchFlags;
    if (send.inner_batch) flags |= kBatchFlags;
    if (topic.topic_filter_type == "MULTI_TAG") flags |= protocol::sys_flag::kMultiTags;
    return protocol::encode_message(send.records,
                                    {.queue_id = send.queue_id,
                                     .flag = flag,
                                     .sys_flag = flags,
                                     .born_timestamp = send.header.born_timestamp,
                                     .born_host = as_bytes(born.address),
                                     .born_port = born.port,
                                     .store_host = as_bytes(settings_.store_host.address),
                                     .store_port = settings_.store_host.port,
                                     .reconsume_times = send.header.reconsume_times.value_or(0),
                                     .body = body,
                                     .topic = send.topic,
                                     .properties = properties});
  }

  Verdict prepare_single(Send& send, const protocol::TopicConfig& topic, const protocol::Host& born,
                         bool may_create) {
    bool dead = false;
    if (protocol::is_retry_topic(send.topic)) {
      const Verdict verdict = redirect_exhausted_retry(send, dead, may_create);
      if (verdict != Verdict::kReady) return verdict;
    }
    Wishes wishes;
    const std::string_view given = send.header.properties.value_or("");
    std::size_t kept = 0;  // bytes of `given` that are stored as they are
    protocol::for_each_property(given, [&](std::string_view name, std::string_view value) {
      wishes.note(name, value);
      if (!Wishes::is_brokers(name)) kept += name.size() + value.size() + 2;
    });
    if (wishes.inner_num && (send.header.sys_flag & protocol::sys_flag::kInnerBatch) == 0)
      return refuse_put(send, store::PutStatus::kMessageIllegal);
    std::int32_t delay_level = 0;
    if (wishes.delay && !protocol::from_text(*wishes.delay, delay_level))
      return refuse(send, code::kMessageIllegal,
                    "the delay level '" + std::string{*wishes.delay} + "' is not a number");
    delay_level = dead ? 0 : settings_.levels.cut(delay_level);
    const bool half =
        wishes.prepared && !(send.header.reconsume_times.value_or(0) > 0 && delay_level > 0);
    if (half && context_.settings().reject_transaction_message)
      return refuse(
          send, code::kNoPermission,
          "the broker[" + context_.address + "] sending transaction message is forbidden");
    TimerTime time;  // a half's is only checked: nobody waits for the answer to its commit
    if (wishes.timer.any() && delay_level <= 0) {
      time = timer_time(wishes.timer, context_, settings_);
      if (time.verdict != TimerVerdict::kAtOnce && time.verdict != TimerVerdict::kLater) {
        const PutAnswer answer = timer_refusal(time.verdict, context_);
        return refuse(send, answer.code, answer.remark);
      }
    }
    send.wait_durable = wishes.wait;
    send.type = wishes.type();
    if (kept == given.size() && !dead && delay_level <= 0)
      send.properties = given;
    else
      copy_properties(send.properties, given, dead, delay_level);
    add_properties(send, wishes);
    const bool waits = half || delay_level > 0 || time.verdict == TimerVerdict::kLater;
    if (waits && !may_be_in_its_lmqs(send))
      return refuse_put(send, store::PutStatus::kMessageIllegal);
    if (half)
      make_half(send);  // its time begins when it is committed
    else if (delay_level > 0)
      delay(send, delay_level);
    else if (time.verdict == TimerVerdict::kLater)
      put_into_timer(send, time.out_ms);
    if (auto encoded = encode(send, topic, born, send.header.flag, send.request->command.body,
                              send.properties);
        !encoded)
      return refuse_put(send, store::PutStatus::kMessageIllegal);
    place(send, 1);
    return Verdict::kReady;
  }

  /// Nobody can be told any more when the message gets to its topic.
  bool may_be_in_its_lmqs(const Send& send) const {
    const store::StoreConfig& config = context_.store.config();
    return !config.lmq || !config.multi_dispatch || !store::may_name_lmqs(send.topic) ||
           store::check_lmqs(send.properties);
  }

  /// The message waits where no consumer sees it until its transaction ends.
  static void make_half(Send& send) {
    if (!send.unique_key.empty())
      protocol::append_property(send.properties, property::kTransactionId, send.unique_key);
    wait_in(protocol::kHalfTopic, 0, send.topic, send.queue_id, send.properties);
  }

  /// The client's properties without those of the broker's own.
  static void copy_properties(Buffer& out, std::string_view given, bool dead,
                              std::int32_t delay_level) {
    out.clear();
    protocol::for_each_property(given, [&](std::string_view name, std::string_view value) {
      if (Wishes::is_brokers(name) || (dead && name == property::kDelay) ||
          (delay_level > 0 && TimerWish::is_wish(name)))
        return;
      const bool level = delay_level > 0 && name == property::kDelay;
      protocol::append_property(out, name, level ? std::to_string(delay_level) : value);
    });
    if (dead) protocol::append_property(out, property::kDelay, "-1");
  }

  void add_properties(Send& send, const Wishes& wishes) {
    Buffer& out = send.properties;
    send.unique_key = wishes.unique_key;
    if (send.unique_key.empty()) {
      send.unique_key = make_unique_key();
      protocol::append_property(out, property::kUniqueKey, send.unique_key);
    }
    protocol::append_property(out, property::kRegion, context_.settings().region_id);
    protocol::append_property(out, property::kTraceOn, trace_text(context_));
    protocol::append_property(out, property::kCluster, context_.settings().cluster_name);
  }

  /// HookUtils.transformDelayLevelMessage: the message waits in the queue of its level.
  void delay(Send& send, std::int32_t level) {
    wait_in(protocol::kScheduleTopic, level - 1, send.topic, send.queue_id, send.properties);
  }

  /// HookUtils.transformTimerMessage: the message waits for its time, and can be recalled until
  /// then (SendMessageProcessor.attachRecallHandle).
  void put_into_timer(Send& send, std::int64_t out_ms) {
    protocol::append_property(send.properties, property::kTimerOutMs, std::to_string(out_ms));
    if (!protocol::is_retry_topic(send.topic))
      send.recall_handle =
          protocol::encode_recall_handle({send.topic, context_.settings().broker_name,
                                          std::to_string(out_ms + 1), send.unique_key});
    wait_in(protocol::kTimerTopic, 0, send.topic, send.queue_id, send.properties);
  }

  /// SendMessageProcessor.handleRetryAndDLQ: a client that retries by itself.
  Verdict redirect_exhausted_retry(Send& send, bool& dead, bool may_create) {
    const std::string group = send.topic.substr(protocol::kRetryPrefix.size());
    const GroupPtr config = context_.groups.find_or_create(group);
    if (!config)
      return refuse(send, code::kSubscriptionGroupNotExist,
                    "subscription group not exist, " + group);
    const std::int32_t most = most_reconsume_times(*config, send.request->command.version,
                                                   send.header.max_reconsume_times);
    // A group that holds queue locks consumes orderly: its failures do not go round again.
    if (send.header.reconsume_times.value_or(0) <= most && !context_.queue_locks.any_held(group))
      return Verdict::kReady;
    const std::string dead_letters = protocol::dlq_topic(group);
    if (!context_.topics.contains(dead_letters) || !context_.topics.is_on_disk(dead_letters)) {
      if (!may_create) return Verdict::kNeedsTopic;
      if (const auto needed = context_.topics.need(dead_letters, 1); !needed)
        return refuse(send, code::kSystemError, needed.error().detail);
    }
    dead = true;
    send.topic = dead_letters;
    send.queue_id = send.reply_queue_id = 0;
    context_.stats.count_dead_letter(send.header.topic, group);
    return Verdict::kReady;
  }

  Verdict prepare_batch(Send& send, const protocol::TopicConfig& topic,
                        const protocol::Host& born) {
    if (send.topic.size() > protocol::kTopicLengthMax)
      return refuse(send, code::kMessageIllegal,
                    "message topic length too long " + std::to_string(send.topic.size()));
    if (protocol::is_retry_topic(send.topic))
      return refuse(send, code::kMessageIllegal,
                    "batch request does not support retry group " + send.topic);
    Wishes of_batch;
    const auto may_be_in_batch = [](std::string_view properties, Wishes& wishes) {
      protocol::for_each_property(properties, [&](std::string_view name, std::string_view value) {
        wishes.note(name, value);
      });
      return (!wishes.delay || *wishes.delay == "0") && !wishes.prepared && !wishes.timer.any();
    };
    if (!may_be_in_batch(send.header.properties.value_or(""), of_batch))
      return refuse_put(send, store::PutStatus::kMessageIllegal);
    auto members = protocol::split_batch(send.request->command.body);
    if (!members) return refuse(send, code::kMessageIllegal, members.error().detail);
    if (is_batch_topic(topic) && !of_batch.unique_key.empty()) {
      send.wait_durable = of_batch.wait;
      send.unique_key = of_batch.unique_key;
      return prepare_inner_batch(send, topic, born, *members);
    }
    for (const protocol::BatchMember& member : *members) {
      Wishes wishes;
      if (!may_be_in_batch(member.properties, wishes) ||
          !encode(send, topic, born, member.flag, member.body, member.properties))
        return refuse_put(send, store::PutStatus::kMessageIllegal);
    }
    send.wait_durable = of_batch.wait;
    send.type = MessageType::kNormal;
    send.unique_key = of_batch.unique_key;
    place(send, static_cast<std::int32_t>(members->size()));
    return Verdict::kReady;
  }

  /// The batch stays one record, which its readers take apart.
  Verdict prepare_inner_batch(Send& send, const protocol::TopicConfig& topic,
                              const protocol::Host& born,
                              const std::vector<protocol::BatchMember>& members) {
    for (const protocol::BatchMember& member : members)
      if (protocol::find_property(member.properties, property::kDelay).value_or("0") != "0" ||
          protocol::find_property(member.properties, property::kTransactionPrepared) == "true")
        return refuse_put(send, store::PutStatus::kMessageIllegal);
    send.inner_batch = true;
    Buffer& out = send.properties;
    out.clear();
    protocol::for_each_property(send.header.properties.value_or(""),
                                [&](std::string_view name, std::string_view value) {
                                  if (name != property::kInnerNum && name != property::kCluster)
                                    protocol::append_property(out, name, value);
                                });
    protocol::append_property(out, property::kCluster, context_.settings().cluster_name);
    protocol::append_property(out, property::kInnerNum, std::to_string(members.size()));
    if (!encode(send, topic, born, send.header.flag, send.request->command.body, out))
      return refuse_put(send, store::PutStatus::kMessageIllegal);
    place(send, 1);
    return Verdict::kReady;
  }

  static void place(Send& send, std::int32_t count) {
    send.append.topic = send.topic;
    send.append.queue_id = send.queue_id;
    send.append.records =
        std::as_writable_bytes(std::span{send.records.data(), send.records.size()});
    send.append.count = count;
    send.append.status = store::PutStatus::kUnknownError;
  }

  std::string make_unique_key() {
    // As long as a client's: 32 upper-case hexadecimal digits.
    return fmt::format("{:016X}{:016X}", context_.env.random.next(), context_.env.random.next());
  }

  void finish(const std::vector<Send*>& sends, std::int64_t took_ms) {
    const bool sync = context_.store.config().flush_disk_type == store::FlushDiskType::kSyncFlush;
    std::shared_ptr<std::vector<Stored>> waiting;
    std::int64_t end = 0;
    std::string_view topic;  // of the stored sends not timed yet
    std::int32_t queue_id = -1;
    std::int64_t untimed = 0;
    const auto time_them = [&] {
      if (untimed > 0) context_.stats.count_put_latency(topic, queue_id, took_ms, untimed);
      untimed = 0;
    };
    for (Send* send : sends) {
      const store::Append& append = send->append;
      if (append.status != store::PutStatus::kOk) {
        context_.stats.count_put_failed();
        refuse_put(*send, append.status);
        continue;
      }
      const std::int32_t messages = std::max(append.count, append.queue_offset_step);
      const auto bytes = static_cast<std::int64_t>(append.records.size());
      context_.stats.count_put(send->topic, messages, bytes, send->type);
      if (send->topic == protocol::kScheduleTopic)
        context_.stats.count_delayed(send->queue_id, messages, bytes);
      if (topic != send->topic || queue_id != send->reply_queue_id) time_them();
      topic = send->topic;
      queue_id = send->reply_queue_id;
      ++untimed;
      write_message_ids(*send);
      if (!sync || !send->wait_durable) {
        answer_stored(context_, send->request->responder, code::kSuccess, send->message_ids,
                      send->unique_key, send->recall_handle, send->reply_queue_id,
                      append.queue_offset, send->inner_batch);
        continue;
      }
      if (!waiting) waiting = std::make_shared<std::vector<Stored>>();
      waiting->push_back({send->request->responder, send->message_ids, send->unique_key,
                          send->recall_handle, send->reply_queue_id, append.queue_offset,
                          send->inner_batch});
      end =
          std::max(end, append.physical_offset + static_cast<std::int64_t>(append.records.size()));
    }
    time_them();
    if (waiting) answer_when_durable(end, std::move(waiting));
  }

  void answer_when_durable(std::int64_t end, std::shared_ptr<std::vector<Stored>> waiting) {
    context_.store.when_durable(
        end, [waiting = std::move(waiting), &context = context_,
              token = settings_.waiting_answers.enter()](store::PutStatus status) {
          const PutAnswer answer = put_answer(status, context);
          for (const Stored& each : *waiting) {
            if (is_stored(status))
              answer_stored(context, each.responder, answer.code, each.message_ids, each.unique_key,
                            each.recall_handle, each.queue_id, each.queue_offset, each.inner_batch);
            else
              answer_refused(context, each.responder, answer.code, answer.remark);
          }
        });
  }

  void write_message_ids(Send& send) const {
    const Bytes host = as_bytes(settings_.store_host.address);
    const auto port = settings_.store_host.port;
    send.message_ids.clear();
    if (send.append.count == 1)
      return protocol::append_offset_message_id(send.message_ids, host, port,
                                                send.append.physical_offset);
    for (const std::int64_t offset : send.append.physical_offsets) {
      if (!send.message_ids.empty()) send.message_ids += ',';
      protocol::append_offset_message_id(send.message_ids, host, port, offset);
    }
  }

  Context& context_;
  const SendSettings& settings_;
  std::atomic<std::int32_t> waiting_for_topic_{0};
};

}  // namespace

/// AbstractSendMessageProcessor.msgCheck, in its order.
std::optional<PutAnswer> check_target(Context& context, const SendMessageRequest& header,
                                      const remoting::Peer& peer, bool may_create,
                                      TopicPtr& topic) {
  const BrokerConfig& config = context.settings();
  if (config.start_accept_send_ms > 0 && context.env.clock.wall_ms() < config.start_accept_send_ms)
    return PutAnswer{code::kSystemError, "broker unable to service, until " +
                                             std::to_string(config.start_accept_send_ms)};
  if (!topic || topic->topic_name != header.topic) topic = context.topics.find(header.topic);
  if ((config.permission & protocol::perm::kWrite) == 0 && topic && topic->order)
    return PutAnswer{code::kNoPermission,
                     "the broker[" + context.address + "] sending message is forbidden"};
  if (!topic) {
    if (auto legal = protocol::check_topic(header.topic); !legal)
      return PutAnswer{code::kInvalidParameter, legal.error().detail};
  }
  if (protocol::is_forbidden_to_send(header.topic))
    return PutAnswer{code::kNoPermission,
                     "Sending message to topic[" + std::string{header.topic} + "] is forbidden."};
  if (!topic || !context.topics.is_on_disk(header.topic)) {
    if (!may_create) {
      topic = nullptr;
      return std::nullopt;
    }
    if (!topic) topic = create_topic(context, header);
    if (!topic)
      return PutAnswer{code::kTopicNotExist,
                       "topic[" + std::string{header.topic} +
                           "] not exist, apply first please!\nSee "
                           "https://rocketmq.apache.org/docs/bestPractice/06FAQ for further "
                           "details."};
    // A message must not be acknowledged before the topic it can be read from is on disk.
    if (auto written = context.topics.ensure_on_disk(header.topic); !written)
      return PutAnswer{code::kSystemError, written.error().detail};
  }
  if (header.queue_id >= std::max(topic->write_queue_nums, topic->read_queue_nums))
    return PutAnswer{code::kInvalidParameter,
                     fmt::format("request queueId[{}] is illegal, topic[{}] has {} write and {} "
                                 "read queues Producer: {}",
                                 header.queue_id, header.topic, topic->write_queue_nums,
                                 topic->read_queue_nums, peer.remote_text())};
  return std::nullopt;
}

bool is_stored(store::PutStatus status) {
  return status == store::PutStatus::kOk || status == store::PutStatus::kFlushDiskTimeout;
}

PutAnswer put_answer(store::PutStatus status, Context& context) {
  using store::PutStatus;
  switch (status) {
    case PutStatus::kOk:
      return {code::kSuccess, {}};
    case PutStatus::kFlushDiskTimeout:
      return {code::kFlushDiskTimeout, {}};
    case PutStatus::kMessageIllegal:
      return {code::kMessageIllegal,
              fmt::format("the message is illegal, maybe msg body or properties length not "
                          "matched. msg body length limit {}B, msg properties length limit 32KB.",
                          context.store.config().max_message_bytes)};
    case PutStatus::kServiceNotAvailable: {
      const store::StoreStatus store = context.store.status();
      return {
          code::kServiceNotAvailable,
          "service not available now. It may be caused by one of the following reasons: the "
          "broker's disk is full [CL: " +
              fmt::format("{:.2f} CQ: {:.2f}", store.commit_log_disk_ratio,
                          store.consume_queue_disk_ratio) +
              "], messages are put to the slave, message store has been shut down, etc." +
              (store.not_writable_because.empty() ? "" : " Here: " + store.not_writable_because)};
    }
    case PutStatus::kPageCacheBusy:
      return {code::kSystemBusy,
              fmt::format("[PC_SYNCHRONIZED]broker busy, start flow control for a while; the slow "
                          "stage is the append to the commit log, its lock is held since {}ms "
                          "(osPageCacheBusyTimeOutMills)",
                          context.store.status().append_lock_held_ms)};
    case PutStatus::kCreateFileFailed:
      return {code::kSystemError, "create mapped file failed, server is busy or broken."};
    case PutStatus::kLmqNumberExceeded:
      return {code::kSystemError,
              "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]broker config enableLmq and enableMultiDispatch, "
              "lmq consumeQueue num exceed maxLmqConsumeQueueNum config num, default limit 2w."};
    case PutStatus::kUnknownError:
      return {code::kSystemError, "UNKNOWN_ERROR"};
  }
  return {code::kSystemError, "UNKNOWN_ERROR DEFAULT"};
}

void add_sending(remoting::Processors& processors, Context& context, const SendSettings& settings) {
  namespace request = protocol::request_code;
  processors.on_batch({request::kSendMessage, request::kSendMessageV2, request::kSendBatchMessage},
                      [sending = std::make_shared<Sending>(context, settings)](
                          std::span<const Request> requests) { sending->process(requests); });
}

}  // namespace apogee::broker
