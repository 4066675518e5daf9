// null_broker PORT FILE [sync]: the least a broker can do, to measure brokers against. It cuts
// frames, reads what it must of a header, writes the bodies it gets to FILE (one write a read of
// the socket), and says "stored"; a pull is answered with the same 32 records each time, from
// memory. No topics, no queues, no checks, no promises. With "sync" one: what it says is stored is
// on disk.
//
// One thread a core, each with its own epoll and its own listening socket (SO_REUSEPORT). Ends on
// SIGTERM or SIGINT.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "protocol/codes.h"
#include "protocol/command.h"
#include "protocol/headers.h"

namespace {

using namespace apogee;

constexpr std::size_t kReadBytes = 256 << 10;
constexpr int kPiecesMax = 1'024;          // of one write call (IOV_MAX)
constexpr std::size_t kPulled = 32;        // records of a pull's answer
constexpr std::size_t kRecordBytes = 330;  // what a 128 B body takes in a log, about
constexpr off_t kSyncedFileBytes = 1 << 30;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::_Exit(1);
}

/// One connection: what was read and not yet cut, what is to be answered.
struct Connection {
  int socket;
  Buffer input = Buffer(kReadBytes, '\0');
  std::size_t end = 0;
  Buffer output;
};

class Worker {
 public:
  Worker(int port, int file, bool sync) : file_{file}, sync_{sync} {
    for (std::size_t i = 0; i < kPulled; ++i) {
      append_big<std::int32_t>(records_, static_cast<std::int32_t>(kRecordBytes));
      records_.append(kRecordBytes - 4, 'x');
    }
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<std::uint16_t>(port));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(listener_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) die("bind");
    if (::listen(listener_, 1'024) != 0) die("listen");
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    watch(listener_);
  }

  [[noreturn]] void run() {
    epoll_event events[64];
    for (;;) {
      const int count = ::epoll_wait(epoll_, events, 64, -1);
      for (int i = 0; i < count; ++i) {
        if (events[i].data.fd == listener_)
          accept();
        else
          serve(*connections_[events[i].data.fd]);
      }
    }
  }

 private:
  void watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }
  void accept() {
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connections_[socket] = std::make_unique<Connection>(Connection{.socket = socket});
    watch(socket);
  }
  void close(Connection& connection) {
    const int socket = connection.socket;
    connections_.erase(socket);
    ::close(socket);
  }

  void serve(Connection& connection) {
    if (connection.end == connection.input.size()) connection.input.resize(connection.end * 2);
    const ssize_t n = ::recv(connection.socket, connection.input.data() + connection.end,
                             connection.input.size() - connection.end, 0);
    if (n <= 0) return close(connection);
    connection.end += static_cast<std::size_t>(n);
    Bytes rest = as_bytes(std::string_view{connection.input}.substr(0, connection.end));
    bodies_.clear();
    while (true) {
      auto frame = protocol::decode_frame(rest);
      if (!frame) return close(connection);
      if (!*frame) break;
      auto command = decoder_.decode(**frame);
      if (!command) return close(connection);
      answer(*command, connection.output);
      rest = rest.subspan((*frame)->size);
    }
    write_bodies();
    connection.end = rest.size();
    std::memmove(connection.input.data(), rest.data(), rest.size());
    send(connection);
  }

  void answer(const protocol::CommandView& command, Buffer& out) {
    const protocol::CommandHead head{.code = 0,
                                     .opaque = command.opaque,
                                     .flag = protocol::kResponseFlag,
                                     .serialization = command.serialization};
    if (command.code == protocol::request_code::kPullMessage) {
      protocol::encode_command(out, head, protocol::PullMessageResponse{}, as_bytes(records_));
      return;
    }
    if (!command.body.empty()) bodies_.push_back(command.body);
    protocol::encode_command(
        out, head,
        protocol::SendMessageResponse{.message_id = "0", .queue_id = 0, .queue_offset = 0});
  }

  void write_bodies() {
    std::vector<iovec>& pieces = pieces_;
    pieces.clear();
    for (const Bytes& each : bodies_)
      pieces.push_back({const_cast<std::byte*>(each.data()), each.size()});
    for (std::size_t at = 0; at < pieces.size(); at += kPiecesMax) {
      const int count = static_cast<int>(std::min<std::size_t>(kPiecesMax, pieces.size() - at));
      if (::writev(file_, pieces.data() + at, count) < 0) die("write");
    }
    if (sync_ && !pieces.empty() && ::fdatasync(file_) != 0) die("fdatasync");
  }

  void send(Connection& connection) {
    std::string_view rest = connection.output;
    while (!rest.empty()) {
      const ssize_t n = ::send(connection.socket, rest.data(), rest.size(), MSG_NOSIGNAL);
      if (n <= 0) return close(connection);
      rest.remove_prefix(static_cast<std::size_t>(n));
    }
    connection.output.clear();
  }

  const int file_;
  const bool sync_;
  int listener_, epoll_;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;
  protocol::CommandDecoder decoder_;
  Buffer records_;
  std::vector<Bytes> bodies_;
  std::vector<iovec> pieces_;
};

}  // namespace

int main(int argc, char** argv) {
  const bool sync = argc == 4 && std::strcmp(argv[3], "sync") == 0;
  if (argc != 3 && !sync) {
    std::fprintf(stderr, "usage: null_broker PORT FILE [sync]\n");
    return 2;
  }
  const int port = std::atoi(argv[1]);
  const int file = ::open(argv[2], O_WRONLY | O_CREAT | O_CLOEXEC | (sync ? 0 : O_APPEND), 0644);
  if (file < 0) die(argv[2]);
  // As a log's file is: of a length that no write changes, or each sync is two.
  if (sync && ::ftruncate(file, kSyncedFileBytes) != 0) die("ftruncate");
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  std::vector<std::unique_ptr<Worker>> workers;
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  for (unsigned i = 0; i < cores; ++i)
    workers.push_back(std::make_unique<Worker>(port, file, sync));
  for (auto& worker : workers) std::thread{[&worker] { worker->run(); }}.detach();
  std::printf("ready\n");
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ends, &signal);
  ::_exit(0);
}
