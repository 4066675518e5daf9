#pragma once

#include <string>
#include <vector>

#include "apogee/admin.h"

/// Records of the trace topic, as Java's TraceDataEncoder writes them. Pure.
namespace apogee::admin {

/// Adds the events that tell of message `id`; records that are cut short or of a kind not shown are
/// passed over.
void append_trace(const ReceivedMessage& message, const std::string& id,
                  std::vector<TraceEvent>& events);

}  // namespace apogee::admin
