#include <filesystem>
#include <fstream>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "main/commands.h"
#include "testing/ran.h"

namespace apogee {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Ran;
using testing::run_kept;

class Socket {
 public:
  Socket() : fd_{::socket(AF_INET, SOCK_STREAM, 0)} {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { ::close(fd_); }
  int fd() const { return fd_; }

 private:
  const int fd_;
};

sockaddr_in at(const char* host, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, host, &address.sin_addr);
  return address;
}

std::uint16_t free_port() {
  const Socket socket;
  sockaddr_in address = at("127.0.0.1", 0);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(socket.fd(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

bool answers(const char* host, std::uint16_t port) {
  const Socket socket;
  const sockaddr_in address = at(host, port);
  return ::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

/// `apogee server` in a process of its own, as its signals are the process's.
class ServerProcess {
 public:
  ServerProcess(const std::string& directory, const std::vector<std::string>& words) {
    int ends[2];
    if (::pipe(ends) != 0) return;
    std::fflush(stdout);  // what waits there is the child's, too
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      ::close(ends[0]);
      ::close(ends[1]);
      const int code = ::chdir(directory.c_str()) == 0 ? run_server(words) : 3;
      std::fflush(stdout);
      ::_exit(code);
    }
    ::close(ends[1]);
    out_ = ends[0];
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess() {
    if (child_ > 0) ::kill(child_, SIGKILL);
    end();
    ::close(out_);
  }
  /// The first line it prints; empty after 30 s.
  std::string first_line() const {
    std::string line;
    for (char c = 0; c != '\n'; line += c) {
      pollfd ready{.fd = out_, .events = POLLIN, .revents = 0};
      if (::poll(&ready, 1, 30'000) != 1 || ::read(out_, &c, 1) != 1) return {};
    }
    return line;
  }
  /// Its exit code once it was asked to stop.
  int stop() {
    ::kill(child_, SIGTERM);
    return end();
  }

 private:
  int end() {
    int status = 0;
    if (child_ > 0) ::waitpid(std::exchange(child_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  pid_t child_ = -1;
  int out_ = -1;
};

class ServerCommand : public ::testing::Test {
 protected:
  const std::string at_ = (std::filesystem::path{::testing::TempDir()} /
                           ("apogee_server_" + std::to_string(::getpid())))
                              .string(),
                    file_ = at_ + "/broker.conf", mine_ = at_ + "/mine";
  const std::uint16_t port_ = free_port();

  void SetUp() override {
    std::filesystem::remove_all(at_);
    std::filesystem::create_directories(at_);
    std::ofstream{file_} << "storePathRootDir=" << mine_ << "\nlistenPort=" << port_
                         << "\nbrokerIP1=192.0.2.1\nbindAddress=127.0.0.1\n"
                         << "mappedFileSizeCommitLog=1048576\n";
  }
  void TearDown() override { std::filesystem::remove_all(at_); }
};

TEST_F(ServerCommand, LeavesAloneWhatItsFileSays) {
  ServerProcess server{at_, {"-c", file_, "--namesrv-port", "0"}};
  const std::string ready = server.first_line();
  EXPECT_THAT(ready, HasSubstr("broker 192.0.2.1:" + std::to_string(port_)));
  EXPECT_THAT(ready, HasSubstr("store " + mine_ + "\n"));
  EXPECT_TRUE(answers("127.0.0.1", port_));
  EXPECT_FALSE(answers("127.0.0.2", port_)) << "not what the file says to listen on";
  EXPECT_EQ(server.stop(), 0);
  EXPECT_TRUE(std::filesystem::exists(mine_ + "/config"));
  EXPECT_FALSE(std::filesystem::exists(at_ + "/data"));
}

TEST_F(ServerCommand, TakesTheDirectoryOfItsFileAlsoWhenThatIsCalledStore) {
  std::ofstream{file_} << "storePathRootDir=./store\n";
  const auto directory = [](const std::vector<std::string>& words) {
    const Ran ran = run_kept([&] { return run_broker(words); });
    const std::size_t at = ran.out.find("storePathRootDir=");
    return at == std::string::npos ? ran.err : ran.out.substr(at, ran.out.find('\n', at) - at);
  };
  EXPECT_EQ(directory({"-c", file_, "-p"}),
            "storePathRootDir=" + (std::filesystem::current_path() / "store").string());
  EXPECT_EQ(directory({"-p"}), "storePathRootDir=" + std::string{std::getenv("HOME")} + "/store");
}

TEST_F(ServerCommand, NeverPrintsAPassword) {
  std::ofstream{file_, std::ios::app} << "tls.server.keyPassword=hush\n";
  for (const char* each : {"-p", "-m"}) {
    const Ran ran =
        run_kept([&] { return run_broker(std::vector<std::string>{"-c", file_, each}); });
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_THAT(ran.out, AllOf(HasSubstr("storePathRootDir=" + mine_), Not(HasSubstr("hush"))));
  }
  const std::string names = at_ + "/namesrv.conf";
  std::ofstream{names} << "listenPort=9877\ntls.server.keyPassword=hush\n";
  for (const char* each : {"-p", "-m"}) {
    const Ran ran =
        run_kept([&] { return run_namesrv(std::vector<std::string>{"-c", names, each}); });
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_THAT(ran.out, AllOf(HasSubstr("listenPort=9877"), Not(HasSubstr("hush"))));
  }
}

TEST_F(ServerCommand, DoesWhatItIsToldOverItsFile) {
  const std::uint16_t port = free_port();
  ServerProcess server{at_,
                       {"-c", file_, "--namesrv-port", "0", "--store", "told", "--broker-port",
                        std::to_string(port), "--host", "127.0.0.1"}};
  const std::string ready = server.first_line();
  EXPECT_THAT(ready, HasSubstr("broker 127.0.0.1:" + std::to_string(port)));
  EXPECT_THAT(ready, HasSubstr("store " + at_ + "/told\n"));
  EXPECT_EQ(server.stop(), 0);
  EXPECT_FALSE(std::filesystem::exists(mine_));
}

}  // namespace
}  // namespace apogee
