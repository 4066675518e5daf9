#pragma once

#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif

#include <exception>
#include <optional>
#include <string>

#include "base/log.h"

/// A program's functions are not to throw, but the thread that would end with the process is ours.
namespace apogee::client {

/// Calls `run`; if that throws, the exception's text.
template <class Run>
std::optional<std::string> thrown_by(const Run& run) {
  try {
    run();
    return std::nullopt;
#ifdef __GLIBCXX__
  } catch (const abi::__forced_unwind&) {
    throw;  // pthread_exit(), as of a thread that wants an interpreter that has ended
#endif
  } catch (const std::exception& thrown) {
    return thrown.what();
  } catch (...) {
    return "not a std::exception";
  }
}

/// Calls a function whose failure concerns nobody else: what it throws is told in the log.
template <class Run>
void guarded(Logger& log, const char* function, const std::string& group, const Run& run) {
  if (const auto thrown = thrown_by(run))
    log.warn("{} threw: group={} what=\"{}\"", function, group, *thrown);
}

}  // namespace apogee::client
