#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include <apogee/result.h>

/// What every example needs and none is about.

/// The first argument, else NAMESRV_ADDR, else this machine.
inline std::string name_server(int argc, char** argv) {
  if (argc > 1) return argv[1];
  if (const char* from_environment = std::getenv("NAMESRV_ADDR")) return from_environment;
  return "127.0.0.1:9876";
}

/// Ends the program with what went wrong.
[[noreturn]] inline void fail(const apogee::Error& error) {
  std::fprintf(stderr, "%s: %s\n", name_of(error.code), error.detail.c_str());
  std::exit(1);
}

template <class T>
T must(apogee::Result<T> result) {
  if (!result) fail(result.error());
  return *std::move(result);
}
