#pragma once

#include <string>
#include <vector>

#include "base/file.h"
#include "base/options.h"
#include "broker/broker.h"

namespace apogee::broker {

/// All keys a broker.conf may have, bound to `setup`, which must outlive them.
std::vector<OptionView> options_of(BrokerSetup& setup);

/// key=value lines of all keys that mean something here but for secrets, sorted, as the published
/// broker tells them: without escapes.
Buffer configuration_text(const std::vector<OptionView>& options);

/// UPDATE_BROKER_CONFIG: kInvalidArgument for an unknown key or a bad value, kUnsupported for a key
/// that may not change while the broker runs or has no effect; what `file` says already may be said
/// again. After an error some of `properties` may be applied: work on a copy.
Result<Ok> apply_at_run_time(const std::vector<Property>& properties,
                             const std::vector<OptionView>& options,
                             const std::vector<Property>& file = {});

/// Reads a broker.conf over the defaults (an empty path: the defaults). kInvalidArgument lists
/// every unknown key with the nearest known one and every bad value; with `lenient` they become
/// `warnings`, but for what the file asks for and does not exist here.
Result<BrokerSetup> read_config(FileSystem& files, const std::string& path, bool lenient,
                                std::vector<std::string>& warnings);

}  // namespace apogee::broker
