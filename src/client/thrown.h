#pragma once

#include <exception>
#include <optional>
#include <string>

/// A program's functions are not to throw, but the thread that would end with the process is ours.
namespace apogee::client {

/// Calls `run`; if that throws, the exception's text.
template <class Run>
std::optional<std::string> thrown_by(const Run& run) {
  try {
    run();
    return std::nullopt;
  } catch (const std::exception& thrown) {
    return thrown.what();
  } catch (...) {
    return "not a std::exception";
  }
}

}  // namespace apogee::client
