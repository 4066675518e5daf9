#include "client/address_server.h"

#include <cctype>
#include <cstdlib>

#include <fmt/format.h>

#include "client/name_servers.h"
#include "client/version.h"

namespace apogee::client {
namespace {

constexpr auto kLimit = 3'000ms;
constexpr std::size_t kAnswerBytesMax = 64 << 10;

/// The body of an answer in full, of which the first line counts; an error says what is wrong.
Result<std::vector<std::string>> name_servers_of(const std::string& host, std::string_view answer) {
  const auto refused = [&](std::string_view what) {
    return Error{Errc::kRefused, host + " answers " + std::string{what}};
  };
  const std::size_t head_bytes = answer.find("\r\n\r\n");
  const std::string_view first_line = answer.substr(0, answer.find("\r\n"));
  if (!answer.starts_with("HTTP/1.") || answer.substr(8, 4) != " 200" ||
      head_bytes == std::string_view::npos)
    return refused(first_line);
  std::string head{answer.substr(0, head_bytes)};
  for (char& each : head) each = static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
  std::string_view body = answer.substr(head_bytes + 4);
  // Half of an address is another address.
  constexpr std::string_view kLength = "\r\ncontent-length:";
  if (const std::size_t at = head.find(kLength); at != std::string::npos) {
    const std::size_t length = std::strtoull(head.c_str() + at + kLength.size(), nullptr, 10);
    if (body.size() < length) return refused("only a part");
    body = body.substr(0, length);
  }
  while (body.starts_with('\r') || body.starts_with('\n')) body.remove_prefix(1);
  return parse_name_servers(body.substr(0, body.find_first_of("\r\n")));
}

/// One request over one connection, which the server closes at its end. HTTP/1.0: no chunks.
///
/// Threads: the stream's loop, from the moment there is one.
class Fetch final : public StreamHandler, public std::enable_shared_from_this<Fetch> {
 public:
  using Done = std::function<void(Result<std::vector<std::string>>)>;
  Fetch(Env& env, std::string host, std::string path, Done done)
      : env_{env},
        host_{std::move(host)},
        request_{fmt::format("GET {} HTTP/1.0\r\nHost: {}\r\nAccept: text/plain\r\n"
                             "Client-Version: {}\r\nAccept-Charset: UTF-8\r\n"
                             "Metaq-Client-RequestTS: {}\r\n\r\n",
                             path, host_, kVersion, env.clock.wall_ms())},
        done_{std::move(done)} {}

  void start(const Endpoint& to) {
    env_.network.connect(to, kLimit, [self = shared_from_this()](auto stream) {
      if (!stream) return self->done_(stream.error());
      self->begin(*std::move(stream));
    });
  }

 private:
  void begin(std::unique_ptr<Stream> stream) {
    stream_ = std::move(stream);
    keep_ = shared_from_this();
    env_.clock.run_after(kLimit, [weak = weak_from_this(), &loop = stream_->loop()] {
      if (weak.expired()) return;  // and the loop, perhaps, too
      loop.post([weak] {
        const auto self = weak.lock();
        if (self && self->stream_) self->stream_->close(Error{Errc::kTimeout, "no answer in time"});
      });
    });
    stream_->start(*this);
    const Bytes piece = as_bytes(request_);
    stream_->write({&piece, 1});
  }

  MutableBytes read_space() override { return space_; }
  void on_read(std::size_t bytes) override {
    answer_ += as_text(Bytes{space_}.first(bytes));
    if (answer_.size() > kAnswerBytesMax)
      stream_->close(Error{Errc::kMalformed, "the answer is too long"});
  }
  void on_written() override {}
  void on_closed(const Error& why) override {
    const auto self = std::exchange(keep_, nullptr);
    stream_.reset();
    if (why.code == Errc::kTimeout || why.code == Errc::kMalformed)  // it was us
      return done_(Error{why.code, host_ + ": " + why.detail});
    done_(name_servers_of(host_, answer_));
  }

  Env& env_;
  const std::string host_, request_;
  const Done done_;
  std::shared_ptr<Fetch> keep_;  // while there is a stream
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
