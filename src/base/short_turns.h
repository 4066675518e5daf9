#pragma once

#if defined(__linux__)
#include <cstdint>

#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace apogee {

/// Asks for turns of 0.1 ms, the least there are, for the calling thread: less of a core at a time,
/// but sooner while others hold it. Linux from 6.12 on; where it is older, or is not Linux, nothing
/// changes. Policy and priority stay.
inline void ask_for_short_turns() {
#if defined(__linux__) && defined(SYS_sched_setattr) && defined(SYS_sched_getattr)
  struct {  // the first version of the system's sched_attr, which libc does not declare
    std::uint32_t size = 48, policy = 0;
    std::uint64_t flags = 0;
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t runtime_ns = 0, deadline_ns = 0, period_ns = 0;
  } attributes;
  constexpr std::uint32_t kNormal = 0;
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  if (attributes.policy != kNormal) return;
  attributes.runtime_ns = 100'000;
  (void)::syscall(SYS_sched_setattr, 0, &attributes, 0);
#endif
}

}  // namespace apogee
