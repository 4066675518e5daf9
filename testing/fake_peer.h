#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "protocol/command.h"
#include "remoting/peer.h"

namespace apogee::testing {

/// A loop whose tasks run when the test says so. One thread.
class ManualLoop final : public Loop {
 public:
  void post(std::function<void()> task) override { tasks_.push_back(std::move(task)); }
  bool on_this_thread() const override { return true; }
  /// Runs what was posted, and what that posts; returns how many tasks ran.
  std::size_t run() {
    std::size_t ran = 0;
    while (!tasks_.empty()) {
      auto tasks = std::exchange(tasks_, {});
      for (auto& task : tasks) task(), ++ran;
    }
    return ran;
  }
  std::size_t pending() const { return tasks_.size(); }

 private:
  std::vector<std::function<void()>> tasks_;
};

/// The other end of a connection that is not there: keeps what it is sent, answers calls when the
/// test says so. One thread.
class FakePeer final : public remoting::Peer {
 public:
  explicit FakePeer(ManualLoop& loop, std::uint64_t id = 1)
      : loop_{loop}, id_{id}, remote_{"10.0.0.9", static_cast<std::uint16_t>(5'000 + id)} {}

  struct Sent {
    std::int32_t code = 0, opaque = 0, flag = 0;
    std::string remark;
    std::vector<std::pair<std::string, std::string>> ext;
    Buffer body;
    std::string field(std::string_view name) const {
      for (const auto& [key, value] : ext)
        if (key == name) return value;
      return {};
    }
  };

  std::uint64_t id() const override { return id_; }
  const Endpoint& remote() const override { return remote_; }
  const std::string& remote_text() const override { return remote_text_; }
  Loop& loop() override { return loop_; }
  bool connected() const override { return connected_; }
  std::size_t unsent_bytes() const override { return 0; }
  void close(const std::string&) override { connected_ = false; }
  std::int32_t next_opaque() override { return ++opaque_; }

  void send(remoting::OutFrame frame) override {
    Buffer whole = std::move(frame.bytes);
    for (const remoting::SharedBytes& each : frame.shared) append(whole, each.bytes);
    sent.push_back(decode(whole));
  }
  void call_frame(std::function<void(Buffer& out, std::int32_t opaque)> encode,
                  std::chrono::milliseconds timeout,
                  std::function<void(Result<remoting::OwnedCommand>)> done) override {
    Buffer frame;
    encode(frame, next_opaque());
    calls.push_back({decode(frame), timeout, std::move(done)});
  }

  /// The other end says yes to one of `calls`.
  void answer_call(std::size_t number, std::string_view body) {
    protocol::CommandView view;
    view.body = as_bytes(body);
    calls.at(number).done(remoting::OwnedCommand{view});
  }

  struct Call {
    Sent request;
    std::chrono::milliseconds timeout;
    std::function<void(Result<remoting::OwnedCommand>)> done;
  };
  std::vector<Sent> sent;
  std::vector<Call> calls;

 private:
  static Sent decode(const Buffer& bytes) {
    const auto frame = protocol::decode_frame(as_bytes(bytes));
    protocol::CommandDecoder decoder;
    const auto view = decoder.decode(**frame);
    Sent result{.code = view->code,
                .opaque = view->opaque,
                .flag = view->flag,
                .remark = std::string{view->remark.value_or("")},
                .ext = {},
                .body = Buffer{as_text(view->body)}};
    for (const auto& [name, value] : view->ext) result.ext.emplace_back(name, value);
    return result;
  }

  ManualLoop& loop_;
  const std::uint64_t id_;
  const Endpoint remote_;
  const std::string remote_text_ = to_string(remote_);
  bool connected_ = true;
  std::int32_t opaque_ = 0;
};

}  // namespace apogee::testing
