#include "broker/readers.h"

#include <fmt/format.h>

#include "protocol/codes.h"

namespace apogee::broker {

void Readers::post(std::function<void()> read, std::function<void(const std::string& why)> refuse) {
  auto token = in_flight_.enter();
  if (!token) return;
  if (waiting_.fetch_add(1, std::memory_order_relaxed) >= kWaitingMax) {
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    return refuse(
        fmt::format("[OVERLOAD]system busy, start flow control for a while: {} requests wait to "
                    "read what is not in memory (workerThreads)",
                    kWaitingMax));
  }
  threads_.post([this, token = std::move(token), since = clock_.now(), read = std::move(read),
                 refuse = std::move(refuse)] {
    const std::int32_t still = waiting_.fetch_sub(1, std::memory_order_relaxed) - 1;
    const auto waited = clock_.now() - since;
    times_.record(Stage::kQueue, waited);
    if (waited < kWaitMax) return read();
    refuse(fmt::format(
        "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {}ms, "
        "size of queue: {}; the slow stage is the wait to read what is not in memory "
        "(workerThreads)",
        std::chrono::duration_cast<std::chrono::milliseconds>(waited).count(), still));
  });
}

void Readers::post(const remoting::Responder& responder, std::function<void()> read) {
  post(std::move(read), [responder](const std::string& why) {
    responder.reply(protocol::response_code::kSystemBusy, why);
  });
}

}  // namespace apogee::broker
