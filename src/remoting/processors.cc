#include "remoting/processors.h"

#include "protocol/codes.h"
#include "protocol/request_names.h"

namespace apogee::remoting {

void reply(const Responder& responder, const Answer& answer) {
  OutFrame frame;
  protocol::CommandWriter writer{
      frame.bytes,
      responder.head(answer.code, answer.remark ? std::optional<std::string_view>{*answer.remark}
                                                : std::nullopt)};
  for (const auto& [name, value] : answer.ext) writer.field(name, value);
  writer.finish(answer.body.size());
  frame.bytes += answer.body;
  responder.send(answer.code, std::move(frame));
}

void Processors::reply_malformed(const Responder& responder, const Error& error) {
  responder.reply(protocol::response_code::kSystemError, error.detail);
}

/// What an OwnedCommand of it takes, about.
std::size_t bytes_of(const protocol::CommandView& command) {
  std::size_t bytes = sizeof(OwnedCommand) + command.body.size();
  for (const auto& field : command.ext)
    bytes += sizeof(std::pair<std::string, std::string>) + field.name.size() + field.value.size();
  return bytes;
}

/// Nothing: the request has been refused, or the server is stopping.
std::shared_ptr<Processors::Place> Processors::take_place(const Request& request) {
  auto token = in_flight_.enter();
  if (!token) return nullptr;
  const std::size_t bytes = bytes_of(request.command);
  const bool too_many = waiting_.fetch_add(1, std::memory_order_relaxed) >= kWaitingMax;
  const bool too_large =
      waiting_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes > kWaitingBytesMax;
  if (!too_many && !too_large)
    return std::make_shared<Place>(Place{std::move(token), env_.clock.now(), bytes});
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  waiting_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  request.responder.reply(
      protocol::response_code::kSystemBusy,
      fmt::format("[OVERLOAD]system busy, start flow control for a while: {} wait for a worker "
                  "(workerThreads)",
                  too_many ? fmt::format("{} requests", kWaitingMax)
                           : fmt::format("{} bytes of requests", kWaitingBytesMax)));
  return nullptr;
}

bool Processors::waited_too_long(const Place& place, const Responder& responder) {
  const std::int32_t still = waiting_.fetch_sub(1, std::memory_order_relaxed) - 1;
  waiting_bytes_.fetch_sub(place.bytes, std::memory_order_relaxed);
  const auto waited = env_.clock.now() - place.since;
  on_waited(waited);
  if (waited < kWaitMax) return false;
  responder.reply(
      protocol::response_code::kSystemBusy,
      fmt::format("[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in "
                  "queue: {}ms, size of queue: {}; the slow stage is the wait for a worker "
                  "(workerThreads)",
                  std::chrono::duration_cast<std::chrono::milliseconds>(waited).count(), still));
  return true;
}

void Processors::on_batch(std::initializer_list<std::int32_t> codes,
                          std::function<void(std::span<const Request>)> process) {
  batches_.push_back({codes, std::move(process)});
}

void Processors::refuse(std::int32_t code, std::string why, std::int32_t answer) {
  refusals_[code] = {std::move(why), answer};
}

std::map<std::int32_t, std::string> Processors::codes() const {
  std::map<std::int32_t, std::string> codes;
  for (const auto& [code, refusal] : refusals_) codes[code] = refusal.why;
  for (const auto& [code, process] : table_) codes[code].clear();
  for (const Batch& batch : batches_)
    for (const std::int32_t code : batch.codes) codes[code].clear();
  return codes;
}

void Processors::reply_unsupported(const Request& request) const {
  constexpr std::int32_t kUnsupported = protocol::response_code::kRequestCodeNotSupported;
  const std::string number = std::to_string(request.command.code);
  const auto refusal = refusals_.find(request.command.code);
  if (refusal == refusals_.end())
    return request.responder.reply(kUnsupported, " request type " + number + " not supported");
  const auto& [why, answer] = refusal->second;
  request.responder.reply(answer, answer == kUnsupported
                                      ? std::string{protocol::request_name(request.command.code)} +
                                            " (" + number + ") is not supported: " + why
                                      : why);
}

void Processors::on_requests(std::span<const Request> requests) {
  const auto batch_of = [&](const Request& request) -> const Batch* {
    for (const Batch& batch : batches_) {
      if (std::find(batch.codes.begin(), batch.codes.end(), request.command.code) !=
          batch.codes.end())
        return &batch;
    }
    return nullptr;
  };
  for (std::size_t i = 0; i < requests.size();) {
    const Request& request = requests[i];
    if (gate_ && !gate_(request)) {
      ++i;
      continue;
    }
    if (const Batch* batch = batch_of(request)) {
      std::size_t end = i + 1, refused = 0;  // by the gate, which is asked once for each
      for (; end < requests.size() && batch_of(requests[end]) == batch; ++end) {
        if (!gate_ || gate_(requests[end])) continue;
        refused = 1;
        break;
      }
      batch->process(requests.subspan(i, end - i));
      i = end + refused;
      continue;
    }
    if (const auto found = table_.find(request.command.code); found != table_.end()) {
      found->second(request);
    } else {
      reply_unsupported(request);
    }
    ++i;
  }
}

}  // namespace apogee::remoting
