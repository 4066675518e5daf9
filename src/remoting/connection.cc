#include "remoting/connection.h"

#include <charconv>

#include "protocol/codes.h"

namespace apogee::remoting {
namespace {

constexpr std::size_t kBatchRequestsMax = 256;  // handed to the handler at once
constexpr std::size_t kAnswerBytesFirst = 256
                                          << 10;  // of one request, until a batch has shown more
constexpr std::size_t kKeptFields = 256;          // scratch for more fields than this is not kept
constexpr std::size_t kMergedFrameBytes =
    256 << 10;  // small answers are gathered in one buffer up to this size

// Kept by a thread, and by a connection that calls.
constexpr std::size_t kSpares = 4, kSpareBytes = 2 * kMergedFrameBytes;  // of each at most
constexpr int kAlone = 8;              // calls one after the other, each answered before the next
constexpr std::size_t kManyCalls = 4;  // between two writes
constexpr auto kLateSweep = 500ms;     // five of them are due by then

std::atomic<std::uint64_t> next_id{
    1};  // ids are unique in the process: tables of several servers may meet

/// What one batch needs; each decoder keeps the views of one request alive. Per thread, so that
/// idle connections own none. Empty between batches.
struct Batch {
  std::vector<protocol::CommandDecoder> decoders{kBatchRequestsMax};
  std::vector<protocol::CommandView> views;
  std::vector<Request> requests;
  std::vector<Peer::Answered> answered;  // by request and response: a handful of kinds
  std::vector<Buffer> spare;             // memory of what was written, for the next answers
};
Batch& batch_of_thread() {
  static thread_local Batch batch;
  return batch;
}

/// Memory for the thread's next answers; the largest of what there is.
void keep(Buffer&& used) {
  std::vector<Buffer>& spare = batch_of_thread().spare;
  if (used.empty() || used.capacity() > kSpareBytes) return;
  used.clear();
  if (spare.size() < kSpares) return spare.push_back(std::move(used));
  const auto least =
      std::ranges::min_element(spare, {}, [](const Buffer& memory) { return memory.capacity(); });
  if (used.capacity() > least->capacity()) *least = std::move(used);
}
Buffer take(std::vector<Buffer>& spare) {
  if (spare.empty()) return {};
  Buffer memory = std::move(spare.back());
  spare.pop_back();
  return memory;
}

std::size_t size_of(const OutFrame& frame) {
  std::size_t size = frame.bytes.size();
  for (const SharedBytes& each : frame.shared) size += each.bytes.size();
  return size;
}

/// Whether a frame is written behind the last one. Memory grows by doubling: so it is never more
/// than kMergedFrameBytes, and kept.
bool merges(const std::vector<OutFrame>& frames, const OutFrame& frame) {
  if (frames.empty() || !frames.back().shared.empty() || !frame.shared.empty()) return false;
  const Buffer& last = frames.back().bytes;
  return last.size() + frame.bytes.size() <=
         std::clamp(last.capacity(), kMergedFrameBytes / 2, kMergedFrameBytes);
}

/// Small frames are merged: fewer pieces for one write. The memory of one that was stays with
/// whoever made it.
void add(std::vector<OutFrame>& frames, OutFrame& frame) {
  if (merges(frames, frame))
    frames.back().bytes += frame.bytes;
  else
    frames.push_back(std::move(frame));
}

}  // namespace

OwnedCommand::OwnedCommand(const protocol::CommandView& view)
    : code{view.code},
      version{view.version},
      language{view.language},
      remark{view.remark.value_or("")},
      body{as_text(view.body)} {
  ext.reserve(view.ext.size());
  for (const auto& field : view.ext) ext.emplace_back(field.name, field.value);
}
protocol::CommandView OwnedCommand::view(std::vector<protocol::ExtField>& scratch) const {
  scratch.clear();
  for (const auto& [name, value] : ext) scratch.push_back({name, value});
  protocol::CommandView command;
  command.code = code;
  command.version = version;
  command.language = language;
  command.remark = remark;
  command.ext = scratch;
  command.body = as_bytes(body);
  return command;
}

// ---- ConnectionSet -----------------------------------------------------------------------------

void ConnectionSet::insert(const std::shared_ptr<Connection>& connection) {
  std::lock_guard lock{mutex_};
  connections_.emplace(connection->id(), connection);
}
void ConnectionSet::erase(std::uint64_t id) {
  std::shared_ptr<Connection> last;  // destroyed without the lock
  std::lock_guard lock{mutex_};
  if (const auto found = connections_.find(id); found != connections_.end()) {
    last = std::move(found->second);
    connections_.erase(found);
  }
  if (connections_.empty()) empty_.notify_all();
}
std::size_t ConnectionSet::size() const {
  std::lock_guard lock{mutex_};
  return connections_.size();
}
std::vector<std::shared_ptr<Connection>> ConnectionSet::all() const {
  std::lock_guard lock{mutex_};
  std::vector<std::shared_ptr<Connection>> all;
  all.reserve(connections_.size());
  for (const auto& [id, connection] : connections_) all.push_back(connection);
  return all;
}
bool ConnectionSet::wait_until_empty(std::chrono::milliseconds limit) {
  std::unique_lock lock{mutex_};
  return empty_.wait_for(lock, limit, [&] { return connections_.empty(); });
}

void ConnectionSet::limit_unfinished(std::size_t most) {
  std::size_t total = unfinished_bytes.load(std::memory_order_relaxed);
  if (total <= most) return;
  std::vector<std::pair<std::size_t, std::shared_ptr<Connection>>> holders;
  for (auto& each : all())
    if (const std::size_t bytes = each->unfinished_bytes(); bytes > 0)
      holders.emplace_back(bytes, std::move(each));
  std::ranges::sort(holders, std::greater{}, [](const auto& each) { return each.first; });
  for (const auto& [bytes, connection] : holders) {
    if (total <= most / 4 * 3) return;  // room to go on with
    connection->close_unfinished(
        fmt::format("{} bytes of unfinished frames wait of all peers, the most allowed are {} "
                    "(serverMaxUnfinishedBytesOfAll), and this one's {} are among the largest",
                    unfinished_bytes.load(std::memory_order_relaxed), most, bytes));
    total -= std::min(total, bytes);
  }
}

// ---- Connection --------------------------------------------------------------------------------

Connection::Connection(Env& env, std::unique_ptr<Stream> stream, ConnectionLimits limits,
                       RequestHandler& handler, ConnectionSet& owner)
    : env_{env},
      id_{next_id.fetch_add(1, std::memory_order_relaxed)},
      limits_{limits},
      handler_{handler},
      owner_{owner},
      stream_{std::move(stream)},
      loop_{stream_->loop()},
      remote_{stream_->remote()},
      remote_text_{to_string(remote_)},
      answer_bytes_{kAnswerBytesFirst},
      last_swept_{env.clock.now()},
      last_active_{last_swept_.load(std::memory_order_relaxed)} {}
Connection::~Connection() {
  // A stream belongs to its loop to the end; whoever drops the last reference may be elsewhere.
  if (stream_) loop_.post([stream = std::shared_ptr<Stream>{std::move(stream_)}] {});
}

void Connection::serve_tls(TlsMode mode, std::shared_ptr<const TlsContext> tls) {
  tls_mode_ = mode;
  tls_context_ = std::move(tls);
}

void Connection::begin_tls(std::unique_ptr<TlsSession> session) {
  tls_ = std::move(session);
  first_bytes_ = false;
}

void Connection::start() {
  owner_.insert(shared_from_this());
  handler_.on_connected(shared_from_this());
  stream_->start(*this);
  flush();  // the first words of a TLS client
}

// ---- Input -------------------------------------------------------------------------------------

MutableBytes Connection::read_space() {
  if (tls_) return cipher_in_.space();
  return input_.space(first_bytes_ ? 0 : frame_bytes_wanted());
}

/// How many bytes the frame under way will have, 0 if nobody knows yet. With too much unfinished
/// already, one more: memory grows by the least there is.
std::size_t Connection::frame_bytes_wanted() const {
  const Bytes held = input_.bytes();
  if (held.size() < 4) return 0;
  if (crowded_by_unfinished()) return held.size() + 1;
  return 4 + std::min(read_big<std::uint32_t>(held), limits_.max_frame_bytes);
}

void Connection::on_read(std::size_t bytes) {
  take_input(bytes);
  report_unfinished();
}

/// Changes with the memory, not with each message: nothing is held between the reads of whole
/// frames. Who holds no more than a usual piece is read on: most frames fit in there.
void Connection::report_unfinished() {
  const std::size_t held = input_.capacity() + cipher_in_.capacity();
  const std::size_t before = unfinished_.load(std::memory_order_relaxed);
  if (held != before) {
    unfinished_.store(held, std::memory_order_relaxed);
    owner_.unfinished_bytes.fetch_add(held - before, std::memory_order_relaxed);  // may wrap
  }
  if (held <= InputBuffer::kUsualBytes || held_back_ || closing_ || !crowded_by_unfinished())
    return;
  held_back_ = true;
  stream_->pause_reading(true);
}

bool Connection::crowded_by_unfinished() const {
  return owner_.unfinished_bytes.load(std::memory_order_relaxed) >
         limits_.max_unfinished_bytes_of_all;
}

/// A few times a second, while something is unfinished.
void Connection::judge_unfinished(Clock::Instant now) {
  if (closing_ || closed_.load(std::memory_order_relaxed)) return;
  if (held_back_ && !crowded_by_unfinished()) {
    held_back_ = false;
    if (!paused_) stream_->pause_reading(false);
  }
  const std::size_t bytes = input_.bytes().size();
  if (bytes == 0 || paused_ || held_back_) return begun_.reset();  // it is not the peer's fault
  if (!begun_ || begun_->frames != frames_) {
    begun_ = {now, frames_};
    return;
  }
  constexpr std::size_t kRate = ConnectionLimits::kFrameBytesPerSecond;
  const Clock::Duration took = now - begun_->since;
  if (took - std::chrono::seconds{bytes / kRate} <= limits_.max_frame_time) return;
  fail(fmt::format(
      "{} bytes of a frame in {} s, and it is not whole: after {} s they must come at "
      "{} bytes a second",
      bytes, std::chrono::duration_cast<std::chrono::seconds>(took).count(),
      std::chrono::duration_cast<std::chrono::seconds>(limits_.max_frame_time).count(), kRate));
}

void Connection::close_unfinished(const std::string& why) {
  loop_.post([self = shared_from_this(), why] {
    if (!self->closed_.load(std::memory_order_relaxed) && !self->input_.empty()) self->fail(why);
  });
}

void Connection::take_input(std::size_t bytes) {
  if (lent_) adopt_foreign();  // what was written before this came
  ++reads_;
  active_.store(true, std::memory_order_relaxed);
  if (tls_) {
    cipher_in_.commit(bytes);
    if (closing_ || decrypt(cipher_in_.bytes())) cipher_in_.clear();
    cipher_in_.release_if_empty();
    return;
  }
  input_.commit(bytes);
  if (closing_)
    input_.clear();
  else if (!first_bytes_ || take_first_bytes())
    handle_input();
  input_.release_if_empty();
}

/// What may stand ahead of everything on a server's connection: a PROXY header, then perhaps TLS.
/// False: wait for more, or the input is not to be handled as it is.
bool Connection::take_first_bytes() {
  auto proxy = read_proxy_header(input_.bytes());
  if (!proxy) {
    fail(proxy.error().detail);
    return false;
  }
  if (proxy->wait) return false;
  if (!proxy->source.empty()) remote_text_ = proxy->source;
  input_.consume(proxy->size);
  if (input_.empty()) return false;
  first_bytes_ = false;
  return choose_tls();
}

bool Connection::choose_tls() {
  constexpr std::byte kTlsHandshake{0x16};  // a frame that begins so would be 352 MiB long
  if (input_.bytes().front() != kTlsHandshake) {
    if (tls_mode_ != TlsMode::kEnforcing) return true;
    fail("not encrypted, and this server takes TLS only (tls.server.mode)");
    return false;
  }
  if (!tls_context_) {
    fail("TLS, which is switched off here (tls.server.mode)");
    return false;
  }
  auto session = tls_context_->session();
  if (!session) {
    fail(session.error().detail);
    return false;
  }
  tls_ = *std::move(session);
  InputBuffer begun = std::move(input_);
  input_ = InputBuffer{};
  decrypt(begun.bytes());
  return false;
}

/// Handles what `cipher` holds. False: it did not fit the protocol and the connection ends.
bool Connection::decrypt(Bytes cipher) {
  if (auto received = tls_->receive(cipher); !received) {
    flush();  // the alert that says why
    fail(received.error().detail);
    return false;
  }
  flush();
  for (;;) {
    auto plain = tls_->read(input_.space(frame_bytes_wanted()));
    if (!plain) {
      if (!closing_) stream_->close(plain.error());
      closing_ = true;
      break;
    }
    if (*plain == 0) break;
    input_.commit(*plain);
    if (!closing_) handle_input();
  }
  if (closing_) input_.clear();
  input_.release_if_empty();
  return true;
}

/// Hands on batch after batch, as long as the peer takes the answers.
void Connection::handle_input() {
  const auto self = shared_from_this();
  std::string broken;
  if (lent_) adopt_foreign();  // who is answered may have written itself
  in_batch_ = true;
  for (Cut cut = Cut::kBatchFull; cut == Cut::kBatchFull && !closing_ && !paused_;) {
    // What one batch is answered with should stay far below the limit: then reading stops in time,
    // and nobody is closed who only asked much at once.
    const std::size_t most =
        crowded() ? 1
                  : std::clamp<std::size_t>(limits_.max_unsent_bytes / 8 / answer_bytes_, 1,
                                            kBatchRequestsMax);
    const Clock::Instant arrived = env_.clock.now();
    cut = cut_frames(most, broken);
    hand_on(arrived);
    report_unsent();
    if (cut == Cut::kBroken && !closing_) {
      in_batch_ = false;
      flush();
      fail("bad frame: " + broken);
    }
  }
  in_batch_ = false;
  flush();
}

/// Fills the thread's batch with the views of requests; answers to our own calls are taken at once.
Connection::Cut Connection::cut_frames(std::size_t requests_max, std::string& broken) {
  Batch& batch = batch_of_thread();
  const auto malformed = [&](std::string why) {
    broken = std::move(why);
    return Cut::kBroken;
  };
  while (!input_.empty()) {
    if (batch.views.size() == requests_max) return Cut::kBatchFull;
    const Bytes rest = input_.bytes();
    auto frame = protocol::decode_frame(rest, limits_.max_frame_bytes);
    if (!frame) return malformed(std::move(frame.error().detail));
    // The length of a header is known, and judged, before the header is there.
    const std::size_t header = rest.size() < 8 ? 0 : read_big<std::uint32_t>(rest, 4) & 0x00FF'FFFF;
    if (header > limits_.max_header_bytes)
      return malformed("header of " + std::to_string(header) + " bytes, more than " +
                       std::to_string(limits_.max_header_bytes));
    if (!*frame) break;
    auto command = batch.decoders[batch.views.size()].decode(**frame);
    if (!command) return malformed(std::move(command.error().detail));
    input_.consume((*frame)->size);
    ++frames_;
    if (command->is_response())
      answer(*command);
    else
      batch.views.push_back(*command);
  }
  return Cut::kNeedMore;
}

void Connection::hand_on(Clock::Instant arrived) {
  Batch& batch = batch_of_thread();
  if (batch.views.empty()) return;
  handler_.on_decoded(env_.clock.now() - arrived);
  const std::size_t before = unsent_.load(std::memory_order_relaxed);
  const auto self = shared_from_this();
  for (const auto& view : batch.views)
    batch.requests.push_back({view, Responder{self, view, arrived}});
  handler_.on_requests(batch.requests);
  if (!batch.answered.empty()) {
    const Clock::Duration took = env_.clock.now() - arrived;
    for (Answered& each : batch.answered) {
      each.took = took;
      handler_.on_answered(each);
    }
    batch.answered.clear();
  }
  const std::size_t after = unsent_.load(std::memory_order_relaxed);
  answer_bytes_ = 1 + (after > before ? after - before : 0) / batch.views.size();
  for (std::size_t i = 0; i < batch.views.size(); ++i)
    if (batch.views[i].ext.size() > kKeptFields) batch.decoders[i] = {};
  batch.requests.clear();
  batch.views.clear();
}

/// Answers given while their read is being handled are timed together, when all are given.
void Connection::answered(Answered answered, Clock::Instant arrived) {
  if (loop_.on_this_thread() && in_batch_) {
    auto& kinds = batch_of_thread().answered;
    for (Answered& each : kinds) {
      if (each.request != answered.request || each.response != answered.response ||
          each.oneway != answered.oneway)
        continue;
      ++each.times;
      return;
    }
    kinds.push_back(answered);
    return;
  }
  answered.later = true;
  answered.took = env_.clock.now() - arrived;
  handler_.on_answered(answered);
}

void Connection::fail(const std::string& why) {
  if (closing_) return;
  closing_ = true;
  close_reason_ = why;
  env_.log.warn("connection closed: peer={} reason=\"{}\"", remote_text_, why);
  stream_->close(Error{Errc::kMalformed, why});
}

void Connection::answer(const protocol::CommandView& response) {
  auto done = pending_.take(response.opaque);
  if (!done) return;  // too late, or never asked
  pending_count_.store(pending_.size(), std::memory_order_relaxed);
  if (response.code == protocol::response_code::kGoAway)
    other_goes_away_.store(true, std::memory_order_relaxed);
  if (alone_ == kAlone && pending_.size() == 0) lend();
  done(response);
}

// ---- Output ------------------------------------------------------------------------------------

void Connection::send(OutFrame frame) {
  if (loop_.on_this_thread()) {
    if (closed_.load(std::memory_order_relaxed)) return;
    unsent_.fetch_add(size_of(frame), std::memory_order_relaxed);
    queue(frame);
    if (!in_batch_) flush();
    return;
  }
  if (connected()) send_from_elsewhere(frame, nullptr);
}

// A thread that calls again and again, with nothing else under way, writes itself: the loop is
// woken for the answer only. The loop lends it the output for that, for one call at a time, and
// takes it back before it writes, reads, looks at the calls that wait or ends.

void Connection::lend() {
  if (tls_ || writing_ || !queued_.empty() || closing_) return;
  std::lock_guard lock{foreign_mutex_};
  lent_ = foreign_.may_write = foreign_.frames.empty() && foreign_.calls.empty();
}

/// The lock is held. False: what is left of the frame goes the usual way.
bool Connection::write_here(OutFrame& frame) {
  const std::size_t written = stream_->write_now(as_bytes(frame.bytes));
  pending_count_.store(1, std::memory_order_relaxed);
  active_.store(true, std::memory_order_relaxed);
  unsent_.fetch_sub(written, std::memory_order_relaxed);
  frame.bytes.erase(0, written);
  foreign_.begun = !frame.bytes.empty();
  return !foreign_.begun;
}

/// One wake-up for all that other threads have for this connection.
void Connection::send_from_elsewhere(OutFrame& frame, Call* call) {
  unsent_.fetch_add(size_of(frame), std::memory_order_relaxed);
  bool first;
  {
    std::lock_guard lock{foreign_mutex_};
    if (call != nullptr) foreign_.calls.push_back(std::move(*call));
    if (std::exchange(foreign_.may_write, false) && call != nullptr && write_here(frame)) return;
    first = foreign_.frames.empty();
    if (!foreign_.spare.empty() && frame.bytes.size() <= kMergedFrameBytes / 2 &&
        !merges(foreign_.frames, frame))
      foreign_.frames.push_back({take(foreign_.spare), {}});
    add(foreign_.frames, frame);
  }
  if (first) loop_.post([self = shared_from_this()] { self->take_foreign(); });
}

/// What other threads have for this connection is the loop's.
void Connection::adopt_foreign() {
  {
    std::lock_guard lock{foreign_mutex_};
    std::swap(taken_, foreign_);
    std::swap(taken_.spare, foreign_.spare);  // it goes on with whoever fills it
    // Who calls much will call again: into the memory of what was written last. A server asks one
    // thing now and then, and its many connections keep nothing.
    std::vector<Buffer>& written = batch_of_thread().spare;
    if (taken_.calls.size() >= kManyCalls && written.size() > foreign_.spare.size())
      std::swap(written, foreign_.spare);
  }
  lent_ = taken_.may_write = false;
  if (!taken_.calls.empty())
    alone_ = pending_.size() == 0 && taken_.calls.size() == 1 ? std::min(alone_ + 1, kAlone) : 0;
  for (Call& each : taken_.calls) expect(each);
  taken_.calls.clear();
  if (closed_.load(std::memory_order_relaxed)) {  // and the owner may be gone
    taken_.frames.clear();
    return;
  }
  for (OutFrame& frame : taken_.frames) {
    if (std::exchange(taken_.begun, false)) {
      queued_.insert(queued_.begin(), std::move(frame));
      continue;
    }
    queue(frame);
    keep(std::move(frame.bytes));  // if it was merged
  }
  taken_.frames.clear();
  report_unsent();
}

void Connection::take_foreign() {
  adopt_foreign();
  if (!in_batch_) flush();
}

void Connection::queue(OutFrame& frame) {
  add(queued_, frame);
  limit_unsent();
}

Buffer* Connection::begin_answer() {
  if (!loop_.on_this_thread() || !in_batch_ || closed_.load(std::memory_order_relaxed))
    return nullptr;
  if (queued_.empty() || !queued_.back().shared.empty() ||
      queued_.back().bytes.size() >= kMergedFrameBytes)
    queued_.push_back({take(batch_of_thread().spare), {}});
  answer_at_ = queued_.back().bytes.size();
  return &queued_.back().bytes;
}

void Connection::end_answer() {
  unsent_.fetch_add(queued_.back().bytes.size() - answer_at_, std::memory_order_relaxed);
  limit_unsent();
}

void Connection::limit_unsent() {
  const std::size_t unsent = unsent_.load(std::memory_order_relaxed);
  if (unsent > limits_.max_unsent_bytes) {
    fail("the peer does not read: " + std::to_string(unsent) + " bytes wait for it");
  } else if (unsent > limits_.max_unsent_bytes / 2) {
    pause();
  }
}

/// What waits for all peers together is bounded as well: once it is too much, each is read from
/// only when it has taken its last answer.
void Connection::report_unsent() {
  const std::size_t unsent = unsent_.load(std::memory_order_relaxed);
  if (unsent == reported_) return;
  // The difference may be below 0: unsigned numbers wrap, and so does their sum.
  owner_.unsent_bytes.fetch_add(unsent - std::exchange(reported_, unsent),
                                std::memory_order_relaxed);
  if (unsent > 0 && crowded()) pause();
}

bool Connection::crowded() const {
  return owner_.unsent_bytes.load(std::memory_order_relaxed) > limits_.max_unsent_bytes_of_all;
}

void Connection::pause() {
  if (paused_ || closing_ || closed_.load(std::memory_order_relaxed)) return;
  paused_ = true;
  stream_->pause_reading(true);
}

void Connection::flush() {
  if (writing_ || closing_ || closed_.load(std::memory_order_relaxed)) return;
  if (lent_ && !queued_.empty()) adopt_foreign();
  pieces_.clear();
  if (!tls_ || tls_->ready()) {
    in_flight_.swap(queued_);
    for (const OutFrame& frame : in_flight_) {
      if (!frame.bytes.empty()) pieces_.push_back(as_bytes(frame.bytes));
      for (const SharedBytes& each : frame.shared) {
        if (!each.bytes.empty()) pieces_.push_back(each.bytes);
      }
    }
  }
  if (tls_) seal();
  if (pieces_.empty()) return;
  writing_ = true;
  write_began_ = env_.clock.now();
  stream_->write(pieces_);
}

/// Replaces the pieces by what they become on the wire, behind what TLS itself has to say.
void Connection::seal() {
  for (const Bytes& each : pieces_) {
    if (auto sealed = tls_->write(each); !sealed) {
      pieces_.clear();
      return fail(sealed.error().detail);
    }
  }
  pieces_.clear();
  cipher_out_ = tls_->take_output();
  if (!cipher_out_.empty()) pieces_.push_back(as_bytes(cipher_out_));
}

void Connection::on_written() {
  std::size_t sent = 0;
  for (OutFrame& frame : in_flight_) {
    sent += size_of(frame);
    keep(std::move(frame.bytes));
  }
  in_flight_.clear();
  writing_ = false;
  handler_.on_sent(env_.clock.now() - write_began_);
  active_.store(true, std::memory_order_relaxed);
  const std::size_t unsent = unsent_.fetch_sub(sent, std::memory_order_relaxed) - sent;
  report_unsent();
  if (paused_ && (unsent == 0 || (unsent < limits_.max_unsent_bytes / 4 && !crowded()))) {
    paused_ = false;
    if (!closing_ && !first_bytes_) handle_input();  // what was read before the pause
    if (!paused_ && !held_back_) stream_->pause_reading(false);
  }
  flush();
  if (close_when_sent_ && !writing_ && !closing_) {
    closing_ = true;
    stream_->close(Error{Errc::kStopped, close_reason_});
  }
}

// ---- Calls -------------------------------------------------------------------------------------

void Connection::call_frame(std::function<void(Buffer&, std::int32_t)> encode,
                            std::chrono::milliseconds timeout,
                            std::function<void(Result<OwnedCommand>)> done) {
  call_in_place(encode, env_.clock.now() + timeout, owning(std::move(done)));
}

void Connection::call_in_place(const std::function<void(Buffer&, std::int32_t)>& encode,
                               Clock::Instant deadline, AnsweredInPlace&& done) {
  const std::int32_t opaque = next_opaque();
  static thread_local Buffer spare;  // memory of a frame that was merged into another
  OutFrame frame{std::exchange(spare, {}), {}};
  encode(frame.bytes, opaque);
  Call call{opaque, deadline, std::move(done), last_swept_.load(std::memory_order_relaxed)};
  if (loop_.on_this_thread()) {
    expect(call);
    return send(std::move(frame));
  }
  send_from_elsewhere(frame, &call);
  if (frame.bytes.capacity() > kMergedFrameBytes) return;
  spare = std::move(frame.bytes);
  spare.clear();
}

/// Its frame follows.
void Connection::expect(Call& call) {
  if (closed_.load(std::memory_order_relaxed))
    return call.done(Error{Errc::kDisconnected, remote_text_ + " is not connected"});
  call.reads = reads_;
  pending_.insert(std::move(call));
  pending_count_.store(pending_.size(), std::memory_order_relaxed);
}

void Connection::expire(Clock::Instant now) {
  if (lent_) adopt_foreign();
  auto late = pending_.take_late(now);
  pending_count_.store(pending_.size(), std::memory_order_relaxed);
  if (died(late, now)) {
    closed_.store(true, std::memory_order_release);  // who hears of it and tries again connects
    fail("no answer in time, and nothing else either");
  }
  for (Call& each : late)
    each.done(Error{Errc::kTimeout, "no answer from " + remote_text_ + " in time"});
}

/// Who is not read from may well have answered, and a loop that was held up has not read yet.
bool Connection::died(std::span<const Call> unanswered, Clock::Instant now) {
  if (paused_ || closing_ || unanswered.empty() || env_.clock.now() - now > kLateSweep)
    return false;
  auto since = Clock::Instant::max();
  for (const Call& each : unanswered)
    if (each.reads == reads_) since = std::min(since, each.made);
  if (since == Clock::Instant::max()) return false;  // something came since they were made
  if (suspicion_ && suspicion_->reads == reads_)
    return now - suspicion_->since >= limits_.max_silence;
  suspicion_ = {since, reads_};  // perhaps it was slow with this one
  return false;
}

void Connection::sweep(Clock::Instant now, Clock::Duration idle) {
  last_swept_.store(now, std::memory_order_relaxed);
  if (pending_count_.load(std::memory_order_relaxed) > 0)
    loop_.post([self = shared_from_this(), now] { self->expire(now); });
  if (unfinished_bytes() > 0)
    loop_.post([self = shared_from_this(), now] { self->judge_unfinished(now); });
  if (active_.exchange(false, std::memory_order_relaxed))
    last_active_.store(now, std::memory_order_relaxed);
  else if (now - last_active_.load(std::memory_order_relaxed) > idle)
    close("idle");
}

// ---- End ---------------------------------------------------------------------------------------

void Connection::close(const std::string& why) {
  loop_.post([self = shared_from_this(), why] {
    if (self->closing_ || self->closed_.load(std::memory_order_relaxed)) return;
    self->closing_ = true;
    self->close_reason_ = why;
    self->stream_->close(Error{Errc::kStopped, why});
  });
}

void Connection::close_when_sent(const std::string& why) {
  loop_.post([self = shared_from_this(), why] {
    if (self->closing_ || self->closed_.load(std::memory_order_relaxed)) return;
    self->close_reason_ = why;
    self->close_when_sent_ = true;
    if (self->writing_ || !self->queued_.empty()) return;
    self->closing_ = true;
    self->stream_->close(Error{Errc::kStopped, why});
  });
}

void Connection::on_closed(const Error& why) {
  const auto self = shared_from_this();  // erase() below may drop the last owner
  if (lent_) adopt_foreign();
  closed_.store(true, std::memory_order_release);
  closing_ = true;
  auto pending = pending_.take_all();
  pending_count_.store(0, std::memory_order_relaxed);
  const Error error{Errc::kDisconnected,
                    remote_text_ + ": " + (close_reason_.empty() ? why.detail : close_reason_)};
  for (Call& each : pending) each.done(error);
  handler_.on_disconnected(self, error);
  queued_.clear();
  in_flight_.clear();
  owner_.unsent_bytes.fetch_sub(std::exchange(reported_, 0), std::memory_order_relaxed);
  owner_.unfinished_bytes.fetch_sub(unfinished_.exchange(0), std::memory_order_relaxed);
  input_ = {};  // tables may hold the connection for a while
  cipher_in_ = {};
  stream_.reset();
  owner_.erase(id_);
}

}  // namespace apogee::remoting
