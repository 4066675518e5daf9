#include "broker/sql92.h"
#include "fuzz/law.h"
#include "protocol/properties.h"

/// SQL92 filters. The first line is the expression, the rest a message's properties as they stand
/// in a record. Laws: compiling ends, matching ends, and matching again gives the same.
namespace {

class Lookup final : public apogee::broker::PropertyLookup {
 public:
  explicit Lookup(std::string_view text) : properties_{text} {}
  std::optional<std::string_view> find(std::string_view name) const override {
    return properties_.find(name);
  }

 private:
  apogee::protocol::Properties properties_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const std::size_t line = std::min(text.find('\n'), text.size());
  const auto filter = apogee::broker::Sql92::compile(text.substr(0, line));
  if (!filter) {
    apogee::fuzz::require(!filter.error().detail.empty());
    return 0;
  }
  const Lookup properties{text.substr(std::min(line + 1, text.size()))};
  apogee::fuzz::require(filter->matches(properties) == filter->matches(properties));
  return 0;
}
