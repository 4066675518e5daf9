#pragma once

#include "broker/context.h"
#include "remoting/processors.h"

/// Operators' requests about topics, consumer groups and the broker's configuration
/// (AdminBrokerProcessor). Threads: on the workers; changes are on disk before they are answered.
namespace apogee::broker {

struct AdminHooks {
  std::function<Buffer()> configuration_text;                    ///< key=value lines of all keys.
  std::function<protocol::DataVersion()> configuration_version;  ///< Moves with every update.
  std::function<Result<Ok>(std::string_view properties)>
      update_configuration;  ///< kUnsupported: a key that may not change while running.
};

void add_topic_admin(remoting::Processors& processors, Context& context, AdminHooks hooks);

}  // namespace apogee::broker
