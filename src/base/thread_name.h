#pragma once

#include <pthread.h>

namespace apogee {

/// Names the calling thread, for debuggers and `top`; at most 15 characters. Elsewhere than on
/// Linux and macOS it does nothing.
inline void name_this_thread([[maybe_unused]] const char* name) {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), name);
#elif defined(__APPLE__)
  pthread_setname_np(name);
#endif
}

}  // namespace apogee
