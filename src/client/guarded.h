#pragma once

#include <exception>
#include <string>

#include "base/log.h"

namespace apogee::client {

/// Calls a function of the program's whose failure concerns nobody else: what it throws is told in
/// the log. A thread of the client's that let it pass would end the process.
template <class Call>
void guarded(Logger& log, const char* function, const std::string& group, const Call& call) {
  try {
    call();
  } catch (const std::exception& thrown) {
    log.warn("{} threw: group={} what=\"{}\"", function, group, thrown.what());
  } catch (...) {
    log.warn("{} threw: group={}", function, group);
  }
}

}  // namespace apogee::client
