#include "broker/metrics_server.h"
#include "fuzz/input.h"
#include "fuzz/law.h"
#include "testing/browser.h"
#include "testing/disk_env.h"
#include "testing/network.h"

/// What a scraper, or anybody else, sends to the metrics port, cut into reads as the input says.
/// Laws: each connection gets one answer or none and ends; what was asked for and only that is
/// made; the next one is served.
namespace {

using apogee::fuzz::Input;
using apogee::fuzz::require;

using namespace apogee;

constexpr const char* kServer = "10.0.0.1";
constexpr const char* kClient = "10.0.0.2";
const Endpoint kSite{kServer, 5'557};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input{std::as_bytes(std::span{data, size})};
  testing::DiskEnv disk;
  testing::Network network{disk.clock};
  Env env{disk.clock,   disk.env->files, network.machine(kServer),
          disk.workers, disk.random,     disk.log};
  int made = 0;
  auto server = broker::MetricsServer::start(
      env, kSite, [&](std::string_view path) -> std::optional<broker::HttpPage> {
        require(path.starts_with('/') && path.find_first_of(" ?") == std::string_view::npos);
        ++made;
        if (path == "/metrics") return broker::HttpPage{.body = "a 1\n"};
        return std::nullopt;
      });
  require(server.has_value());
  network.conditions().read_bytes_max = 1 + input.next(256);
  {
    testing::Browser browser{network, kClient, kSite};
    require(browser.is_connected());
    browser.send(as_text(input.rest));
    network.run();
    require(made <= 1);
    if (!browser.closed) network.advance(broker::MetricsServer::kTimeMax + 2s);
    require(browser.closed);
    require(browser.received.empty() || browser.received.starts_with("HTTP/1.1 "));
    require(made == 0 || !browser.received.empty());
  }
  testing::Browser honest{network, kClient, kSite};
  honest.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  network.run();
  require(honest.closed && honest.received.ends_with("a 1\n"));
  network.cut(kServer, kClient);  // nothing runs while a destructor waits
  network.run();
  return 0;
}
