#include "client/address_server.h"

#include <mutex>

#include "client/name_servers.h"

namespace apogee::client {
namespace {

constexpr auto kLimit = 3'000ms;
constexpr std::size_t kAnswerBytesMax = 64 << 10;

/// One request over one connection, which the server closes at its end. HTTP/1.0: no chunks.
class Fetch final : public StreamHandler, public std::enable_shared_from_this<Fetch> {
 public:
  using Done = std::function<void(Result<std::vector<std::string>>)>;
  Fetch(Env& env, std::string host, std::string path, Done done)
      : env_{env},
        host_{std::move(host)},
        request_{"GET " + path + " HTTP/1.0\r\nHost: " + host_ + "\r\nAccept: text/plain\r\n\r\n"},
        done_{std::move(done)} {}

  void start(const Endpoint& to) {
    timer_ = env_.clock.run_after(kLimit, [weak = weak_from_this()] {
      if (const auto self = weak.lock())
        self->finish(Error{Errc::kTimeout, self->host_ + ": no answer in time"});
    });
    env_.network.connect(to, kLimit, [self = shared_from_this()](auto stream) {
      if (!stream) return self->finish(stream.error());
      self->stream_ = *std::move(stream);
      self->keep_ = self;
      self->stream_->start(*self);
      const Bytes piece = as_bytes(self->request_);
      self->stream_->write({&piece, 1});
    });
  }

 private:
  MutableBytes read_space() override { return space_; }
  void on_read(std::size_t bytes) override {
    answer_ += as_text(Bytes{space_}.first(bytes));
    if (answer_.size() > kAnswerBytesMax)
      stream_->close(Error{Errc::kMalformed, host_ + ": the answer is too long"});
  }
  void on_written() override {}
  void on_closed(const Error&) override {
    const auto self = std::exchange(keep_, nullptr);
    stream_.reset();
    const std::size_t head = answer_.find("\r\n\r\n");
    const bool good = answer_.starts_with("HTTP/1.") && answer_.substr(8, 4) == " 200";
    if (!good || head == std::string::npos)
      return finish(
          Error{Errc::kRefused, host_ + " answers " + answer_.substr(0, answer_.find("\r\n"))});
    std::string body = answer_.substr(head + 4);
    finish(parse_name_servers(std::string_view{body}.substr(0, body.find_first_of("\r\n"))));
  }
  void finish(Result<std::vector<std::string>> result) {
    Done done;
    {
      std::lock_guard lock{mutex_};
      done = std::exchange(done_, nullptr);
    }
    if (done) done(std::move(result));
  }

  Env& env_;
  const std::string host_, request_;
  std::mutex mutex_;
  Done done_;
  Clock::TimerId timer_ = 0;
  std::shared_ptr<Fetch> keep_;
  std::unique_ptr<Stream> stream_;
  std::vector<std::byte> space_ = std::vector<std::byte>(4'096);
  std::string answer_;
};

}  // namespace

void fetch_from_address_server(Env& env, const std::string& domain, const std::string& path,
                               std::function<void(Result<std::vector<std::string>>)> done) {
  const bool has_port = domain.find(':') != std::string::npos;
  auto endpoint = parse_endpoint(has_port ? domain : domain + ":8080");
  if (!endpoint) return done(endpoint.error());
  std::make_shared<Fetch>(env, domain, path, std::move(done))->start(*endpoint);
}

}  // namespace apogee::client
