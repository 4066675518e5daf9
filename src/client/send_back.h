#pragma once

#include <functional>
#include <memory>
#include <string>

#include "client/instance.h"
#include "client/producer_core.h"

/// A message that was not consumed goes back to its broker, which delivers it again later or makes
/// it a dead letter. If the broker cannot be asked, the message is sent to the group's retry topic
/// instead.
///
/// Threads: any; nothing blocks. Completions run on an io thread, or inside the call.
namespace apogee::client {

class SendBack {
 public:
  using Done = std::function<void(Result<Ok>)>;
  struct Settings {
    std::string group;  ///< As on the wire.
    std::int32_t max_reconsume_times = 16;
    bool unit_mode = false;
  };
  SendBack(std::shared_ptr<Instance> instance, Settings settings)
      : instance_{std::move(instance)}, settings_{std::move(settings)} {}

  /// `delay_level`: see ConsumeContext.
  void send(const std::shared_ptr<const ReceivedMessage>& message, std::int32_t delay_level,
            Done done) const;
  /// By way of the retry topic only; `reconsume_times` decides with the broker whether it is a dead
  /// letter by now.
  void send_to_retry_topic(const ReceivedMessage& message, std::int32_t reconsume_times,
                           Done done) const;

 private:
  const std::shared_ptr<Instance> instance_;
  const Settings settings_;
};

}  // namespace apogee::client
