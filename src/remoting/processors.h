#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <unordered_map>

#include "base/env.h"
#include "base/in_flight.h"
#include "protocol/codes.h"
#include "remoting/peer.h"

/// Which code is served by what. The calls to on() and its siblings in one place (broker.cc,
/// name_server.cc) are the list of all a server can do.
namespace apogee::remoting {

/// The answer of a processor that answers at once.
struct Answer {
  std::int32_t code = 0;
  std::optional<std::string> remark;
  std::vector<std::pair<std::string, std::string>> ext;
  bool has_ext = false;
  Buffer body;

  Answer() = default;
  static Answer with_body(Buffer body) {
    Answer answer;
    answer.body = std::move(body);
    return answer;
  }
  template <class Header>
  static Answer with(const Header& header, Buffer body = {}) {
    Answer answer;
    answer.has_ext = true;
    protocol::write_fields(header, [&](std::string_view name, std::string_view text) {
      answer.ext.emplace_back(name, text);
    });
    answer.body = std::move(body);
    return answer;
  }
  static Answer error(std::int32_t code, std::string remark) {
    Answer answer;
    answer.code = code;
    answer.remark = std::move(remark);
    return answer;
  }
};
void reply(const Responder& responder, const Answer& answer);

/// Threads: registered before the server starts, then read only.
/// A header that cannot be read is answered with code 1 and a remark that names the field; an
/// unknown code with code 3 and Java's remark.
class Processors : public RequestHandler {
 public:
  explicit Processors(Env& env) : env_{env} {}

  /// Answers at once on the io thread: must not block.
  template <class Header, class Process>  // Answer process(const Header&, const Request&)
  void on(Process process) {
    on_code<Header>(Header::kCode, std::move(process));
  }
  template <class Header, class Process>
  void on_code(std::int32_t code, Process process) {
    table_[code] = [process = std::move(process)](const Request& request) {
      auto header = protocol::read_header<Header>(request.command);
      if (!header) return reply_malformed(request.responder, header.error());
      reply(request.responder, process(*header, request));
    };
  }
  /// Runs on the worker pool with a copy of the request: for what touches files or is slow.
  /// Answer process(const Header&, const OwnedCommand& request, const PeerPtr&)
  template <class Header, class Process>
  void on_worker(Process process) {
    on_worker_code<Header>(Header::kCode, std::move(process));
  }
  template <class Header, class Process>
  void on_worker_code(std::int32_t code, Process process) {
    table_[code] = [this, process = std::move(process)](const Request& request) {
      auto place = take_place(request);
      if (!place) return;
      auto owned = std::make_shared<OwnedCommand>(request.command);
      env_.workers.post([this, process, place, owned, responder = request.responder] {
        if (waited_too_long(*place, responder)) return;
        auto header = read_header<Header>(*owned);
        if (!header) return reply_malformed(responder, header.error());
        reply(responder, process(*header, *owned, responder.peer()));
      });
    };
  }
  /// Answers through request.responder, now or later: void process(const Header&, const Request&)
  template <class Header, class Process>
  void on_async(Process process) {
    on_async_code<Header>(Header::kCode, std::move(process));
  }
  template <class Header, class Process>
  void on_async_code(std::int32_t code, Process process) {
    table_[code] = [process = std::move(process)](const Request& request) {
      auto header = protocol::read_header<Header>(request.command);
      if (!header) return reply_malformed(request.responder, header.error());
      process(*header, request);
    };
  }
  /// Several codes handled as one batch per read: consecutive requests of these codes come
  /// together.
  void on_batch(std::initializer_list<std::int32_t> codes,
                std::function<void(std::span<const Request>)> process);

  /// A request that is known and not served: answered "not supported" with its name and why, or
  /// with another code and nothing but why. One that is registered in earnest, before or after,
  /// wins.
  void refuse(std::int32_t code, std::string why,
              std::int32_t answer = protocol::response_code::kRequestCodeNotSupported);

  /// What there is an answer to, for the reference: every code with why it is refused; empty: it is
  /// served.
  std::map<std::int32_t, std::string> codes() const;

  /// Asked before anything else; false: it has answered the request itself (draining, rejected).
  void set_gate(std::function<bool(const Request&)> gate) { gate_ = std::move(gate); }

  /// Waits for the requests that are being worked on by workers; further ones are dropped. Before
  /// what the processors use ends; the destructor does it too.
  void finish_workers() { in_flight_.wait(); }

  void on_requests(std::span<const Request> requests) override;

  /// Requests waiting for a worker at most; further ones are refused.
  static constexpr std::int32_t kWaitingMax = 10'000;
  /// And what they hold: eight of the largest frames, or 10 000 of 13 KB.
  static constexpr std::size_t kWaitingBytesMax = 128 << 20;
  /// One that has waited for a worker this long is refused: whoever asked has given up.
  static constexpr std::chrono::milliseconds kWaitMax{5'000};
  /// Requests that wait for a worker now.
  std::int32_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

 protected:
  /// How long a request has waited for a worker; on that worker.
  virtual void on_waited(Clock::Duration) {}
  static void reply_malformed(const Responder& responder, const Error& error);
  void reply_unsupported(const Request& request) const;

 private:
  /// A request's place among those that wait for a worker.
  struct Place {
    InFlight::Token token;
    Clock::Instant since;
    std::size_t bytes;
  };
  std::shared_ptr<Place> take_place(const Request& request);
  bool waited_too_long(const Place& place, const Responder& responder);

  Env& env_;
  InFlight in_flight_;
  std::atomic<std::int32_t> waiting_{0};
  std::atomic<std::size_t> waiting_bytes_{0};
  std::unordered_map<std::int32_t, std::function<void(const Request&)>> table_;
  struct Batch {
    std::vector<std::int32_t> codes;
    std::function<void(std::span<const Request>)> process;
  };
  std::vector<Batch> batches_;
  struct Refusal {
    std::string why;
    std::int32_t answer;
  };
  std::unordered_map<std::int32_t, Refusal> refusals_;
  std::function<bool(const Request&)> gate_;
};

}  // namespace apogee::remoting
