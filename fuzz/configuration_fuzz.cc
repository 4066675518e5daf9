#include "base/properties_file.h"
#include "broker/config_file.h"
#include "fuzz/law.h"
#include "namesrv/name_server.h"
#include "remoting/tls.h"
#include "store/config.h"
#include "testing/disk_env.h"

/// broker.conf, namesrv.conf and tls.properties as anybody may write them. Laws: every refusal says
/// why; a lenient reading refuses nothing that parses; the values that were taken are inside their
/// ranges; what a broker writes of its configuration is read again as the same.
namespace {

using apogee::fuzz::require;

using namespace apogee;

template <class Config>
void apply(const std::vector<Property>& properties) {
  for (const bool lenient : {false, true}) {
    Config config;
    auto options = option_views(config);
    std::vector<std::string> warnings;
    const auto done = apply_properties(properties, options, "broker.conf", lenient, warnings);
    if (!done) require(!lenient && !done.error().detail.empty());
    // What stands there now is acceptable to the options themselves.
    for (const auto& option : option_views(config))
      if (!option.ignored) require(option.set(option.value).has_value());
  }
}

void read_as_a_broker(std::string_view text, const std::vector<Property>& properties) {
  testing::DiskEnv disk;
  FileSystem& files = disk.env->files;
  require(replace_file(files, "/broker.conf", text).has_value());
  std::vector<std::string> warnings;
  if (auto refused = broker::read_config(files, "/broker.conf", false, warnings); !refused)
    require(!refused.error().detail.empty());
  auto setup = broker::read_config(files, "/broker.conf", true, warnings);
  if (!setup) {  // a file it names
    require(!setup.error().detail.empty());
    return;
  }
  require(write_options(files, "/said.conf", broker::options_of(*setup)).has_value());
  const auto said = read_file(files, "/said.conf");
  auto again = broker::read_config(files, "/said.conf", false, warnings);
  require(said.has_value() && again.has_value());
  require(write_options(files, "/said.conf", broker::options_of(*again)).has_value());
  require(*read_file(files, "/said.conf") == *said);
  if (const auto done = broker::apply_at_run_time(properties, broker::options_of(*again)); !done)
    require(!done.error().detail.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const auto properties = parse_properties(text);
  if (!properties) {
    require(!properties.error().detail.empty());
    return 0;
  }
  apply<store::StoreConfig>(*properties);
  apply<broker::BrokerConfig>(*properties);
  apply<remoting::ServerConfig>(*properties);
  apply<remoting::OutgoingTls>(*properties);
  apply<namesrv::NameServerConfig>(*properties);
  read_as_a_broker(text, *properties);
  return 0;
}
