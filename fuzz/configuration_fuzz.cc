#include "base/options.h"
#include "broker/config.h"
#include "fuzz/law.h"
#include "store/config.h"

/// broker.conf as anybody may write it. Laws: every refusal says why; a lenient reading refuses
/// nothing that parses; the values that were taken are inside their ranges.
namespace {

using apogee::fuzz::require;

template <class Config>
void apply(const std::vector<apogee::Property>& properties) {
  for (const bool lenient : {false, true}) {
    Config config;
    auto options = apogee::option_views(config);
    std::vector<std::string> warnings;
    const auto done =
        apogee::apply_properties(properties, options, "broker.conf", lenient, warnings);
    if (!done) require(!lenient && !done.error().detail.empty());
    // What stands there now is acceptable to the options themselves.
    for (const auto& option : apogee::option_views(config))
      if (!option.ignored) require(option.set(option.value).has_value());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto properties = apogee::parse_properties({reinterpret_cast<const char*>(data), size});
  if (!properties) {
    require(!properties.error().detail.empty());
    return 0;
  }
  apply<apogee::store::StoreConfig>(*properties);
  apply<apogee::broker::BrokerConfig>(*properties);
  return 0;
}
