#include "remoting/processors.h"

#include "protocol/codes.h"

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
      request.responder.reply(
          protocol::response_code::kRequestCodeNotSupported,
          " request type " + std::to_string(request.command.code) + " not supported");
    }
    ++i;
  }
}

}  // namespace apogee::remoting
