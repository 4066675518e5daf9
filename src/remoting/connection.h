#pragma once

#include <atomic>
#include <condition_variable>
#include <limits>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/brief_mutex.h"
#include "base/cache_line.h"
#include "base/env.h"
#include "remoting/input_buffer.h"
#include "remoting/peer.h"
#include "remoting/pending_calls.h"
#include "remoting/proxy_protocol.h"
#include "remoting/tls.h"

/// One connection, of a server or a client: cuts frames, hands requests on, matches answers,
/// gathers what is to be sent.
///
/// Threads: everything marked "loop" belongs to the stream's loop and is touched on it only.
/// send(), call_frame() and close() come from any thread and post. The connection keeps itself
/// alive from start() until its stream has closed.
namespace apogee::remoting {

struct ConnectionLimits {
  std::uint32_t max_frame_bytes = protocol::kMaxFrameBytes;
  std::uint32_t max_header_bytes = 1 << 20;
  std::size_t max_unsent_bytes = 64 << 20;
  std::size_t max_unsent_bytes_of_all = std::numeric_limits<std::size_t>::max();
  std::size_t max_unfinished_bytes_of_all = std::numeric_limits<std::size_t>::max();
  /// When one call after another has ended without an answer for so long, and nothing else came
  /// either, the path has died, and only the kernel's patience would end the connection. Longer
  /// than a broker pauses: what is under way may have been done.
  Clock::Duration max_silence = std::chrono::seconds{10};
  /// How long a frame may be under way, beside a second for each kFrameBytesPerSecond of it.
  Clock::Duration max_frame_time = Clock::Duration::max();
  static constexpr std::size_t kFrameBytesPerSecond = 16 << 10;
};

class Connection;

/// The connections of one server or client. Any thread.
class ConnectionSet {
 public:
  void insert(const std::shared_ptr<Connection>& connection);
  void erase(std::uint64_t id);
  std::size_t size() const;
  std::vector<std::shared_ptr<Connection>> all() const;
  /// False when some are still there at the end of `limit`.
  bool wait_until_empty(std::chrono::milliseconds limit);

  /// Above `most` bytes of unfinished input of all, ends those with the most of it.
  void limit_unfinished(std::size_t most);

  std::atomic<std::size_t> unsent_bytes{0};      ///< Of all, as of each one's last batch.
  std::atomic<std::size_t> unfinished_bytes{0};  ///< Memory of all, as of each one's last read.

 private:
  mutable std::mutex mutex_;
  std::condition_variable empty_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Connection>> connections_;
};

class Connection final : public Peer,
                         public StreamHandler,
                         public std::enable_shared_from_this<Connection> {
 public:
  /// `handler` and `owner` outlive the connection's stream.
  Connection(Env& env, std::unique_ptr<Stream> stream, ConnectionLimits limits,
             RequestHandler& handler, ConnectionSet& owner);
  ~Connection() override;
  /// A server's: how it takes TLS (`tls` may be null if `mode` is kDisabled). Before start().
  void serve_tls(TlsMode mode, std::shared_ptr<const TlsContext> tls);
  /// A client's: everything goes through `session`. Before start().
  void begin_tls(std::unique_ptr<TlsSession> session);
  void start();  ///< On the stream's loop.

  std::uint64_t id() const override { return id_; }
  const Endpoint& remote() const override { return remote_; }
  const std::string& remote_text() const override { return remote_text_; }
  Loop& loop() override { return loop_; }
  bool connected() const override { return !closed_.load(std::memory_order_acquire); }
  /// False once the other side has said GO_AWAY, too: it answers what is under way, and wants the
  /// rest over a new connection.
  bool takes_calls() const {
    return connected() && !other_goes_away_.load(std::memory_order_relaxed);
  }
  std::size_t unsent_bytes() const override { return unsent_.load(std::memory_order_relaxed); }
  void send(OutFrame frame) override;
  Buffer* begin_answer() override;
  void end_answer() override;
  void close(const std::string& why) override;
  void call_frame(std::function<void(Buffer&, std::int32_t)> encode,
                  std::chrono::milliseconds timeout,
                  std::function<void(Result<OwnedCommand>)> done) override;
  /// `encode` runs inside this call.
  void call_in_place(const std::function<void(Buffer&, std::int32_t)>& encode,
                     Clock::Instant deadline, AnsweredInPlace&& done);
  void answered(Answered answered, Clock::Instant arrived) override;
  std::int32_t next_opaque() override { return opaque_.fetch_add(1, std::memory_order_relaxed); }

  /// Called by the owner a few times a second, any thread: ends calls past their deadline, closes
  /// what has been idle for `idle`.
  void sweep(Clock::Instant now, Clock::Duration idle);
  /// Memory held between reads, for frames that are not whole yet. Any thread.
  std::size_t unfinished_bytes() const { return unfinished_.load(std::memory_order_relaxed); }
  /// Ends the connection if it still waits for the rest of a frame. Any thread.
  void close_unfinished(const std::string& why);
  /// Closes once everything queued is sent.
  void close_when_sent(const std::string& why);

  MutableBytes read_space() override;
  void on_read(std::size_t bytes) override;
  void on_written() override;
  void on_closed(const Error& why) override;

 private:
  /// What other threads want sent, and the answers they wait for.
  struct Foreign {
    std::vector<OutFrame> frames;
    std::vector<Call> calls;
    std::vector<Buffer> spare;  // memory for the next frames
    bool may_write = false;     // the next of them that calls
    bool begun = false;         // the first of `frames` is the rest of one
  };

  enum class Cut { kNeedMore, kBatchFull, kBroken };
  void handle_input();
  Cut cut_frames(std::size_t requests_max, std::string& broken);
  void hand_on(Clock::Instant arrived);
  std::size_t frame_bytes_wanted() const;
  void take_input(std::size_t bytes);
  void report_unfinished();
  bool crowded_by_unfinished() const;
  void judge_unfinished(Clock::Instant now);
  bool take_first_bytes();
  bool choose_tls();
  bool decrypt(Bytes cipher);
  void seal();
  void fail(const std::string& why);
  void queue(OutFrame& frame);
  void limit_unsent();
  void report_unsent();
  bool crowded() const;
  void pause();
  void flush();
  void send_from_elsewhere(OutFrame& frame, Call* call);
  bool write_here(OutFrame& frame);
  void lend();
  void adopt_foreign();
  void take_foreign();
  void expect(Call& call);
  void answer(const protocol::CommandView& response);
  void expire(Clock::Instant now);
  bool died(std::span<const Call> unanswered, Clock::Instant now);

  Env& env_;
  const std::uint64_t id_;
  const ConnectionLimits limits_;
  RequestHandler& handler_;
  ConnectionSet& owner_;
  std::unique_ptr<Stream> stream_;  // loop
  Loop& loop_;
  Endpoint remote_;
  std::string remote_text_;

  // Encryption, loop.
  TlsMode tls_mode_ = TlsMode::kDisabled;
  std::shared_ptr<const TlsContext> tls_context_;
  std::unique_ptr<TlsSession> tls_;  // null: a plain connection, or nobody knows yet
  InputBuffer cipher_in_;
  Buffer cipher_out_;  // being written

  // Input, loop.
  InputBuffer input_;  // as the application sees it
  bool first_bytes_ = true;
  std::uint32_t reads_ = 0, frames_ = 0;
  bool held_back_ = false;  // not read from: too much unfinished input of all
  /// Since when the frame under way is under way, as the sweep sees it.
  struct Begun {
    Clock::Instant since;
    std::uint32_t frames;  // cut until then
  };
  std::optional<Begun> begun_;
  /// Since when calls are not answered, and how much had been read until then.
  struct Suspicion {
    Clock::Instant since;
    std::uint32_t reads;
  };
  std::optional<Suspicion> suspicion_;
  std::size_t answer_bytes_;  // of one request, in the last batch
  std::size_t reported_ = 0;  // of unsent_, to the owner

  // Output, loop.
  std::vector<OutFrame> queued_, in_flight_;
  std::vector<Bytes> pieces_;
  std::size_t answer_at_ = 0;  // begin_answer(): where in the last of queued_
  Clock::Instant write_began_{};
  bool in_batch_ = false, writing_ = false, paused_ = false, closing_ = false,
       close_when_sent_ = false;
  std::string close_reason_;

  // What other threads change with each call, and what the loop does, lies in lines of the cache of
  // its own: each is spared the other's waits.
  alignas(kCacheLine) BriefMutex foreign_mutex_;
  Foreign foreign_;  // guarded by foreign_mutex_, which who may write holds while it does
  std::atomic<std::int32_t> opaque_{1};
  std::atomic<std::size_t> unsent_{0};
  std::atomic<std::size_t> unfinished_{0};
  std::atomic<bool> closed_{false};
  std::atomic<bool> other_goes_away_{false};
  std::atomic<Clock::Instant> last_swept_;

  alignas(kCacheLine) Foreign taken_;  // loop; empty, but for its memory
  bool lent_ = false;                  // loop; see lend()
  int alone_ = 0;                      // loop; calls in a row with nothing else under way
  PendingCalls pending_;               // loop
  std::atomic<std::size_t> pending_count_{0};
  std::atomic<bool> active_{true};
  std::atomic<Clock::Instant> last_active_;
};

}  // namespace apogee::remoting
