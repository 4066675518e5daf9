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
  responder.send(std::move(frame));
}

void Processors::reply_malformed(const Responder& responder, const Error& error) {
  responder.reply(protocol::response_code::kSystemError, error.detail);
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
      std::size_t end = i + 1;
      while (end < requests.size() && batch_of(requests[end]) == batch &&
             (!gate_ || gate_(requests[end])))
        ++end;
      batch->process(requests.subspan(i, end - i));
      i = end;
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
