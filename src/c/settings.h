#pragma once

#include <span>
#include <string>
#include <vector>

#include "apogee/c.h"
#include "apogee/client.h"
#include "base/options.h"

/// The settings of the C API: members of the C++ configuration structs by name, as text. Also the
/// list behind the table of defaults in docs/client.md.
namespace apogee::c {

/// Bound to `config`, which must outlive them.
std::vector<OptionView> settings_of(ClientConfig& config);
std::vector<OptionView> settings_of(ProducerConfig& config);
std::vector<OptionView> settings_of(PushConsumerConfig& config);
std::vector<OptionView> settings_of(LitePullConsumerConfig& config);
/// A setting of the C API alone: which of the two functions a consumer has.
OptionView orderly_setting(bool& orderly);

/// kInvalidArgument names what is unknown, with the nearest name, or malformed.
Result<Ok> apply(std::span<const apogee_setting> settings, std::vector<OptionView> known);

}  // namespace apogee::c
