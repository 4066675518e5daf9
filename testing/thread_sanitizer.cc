/// What the thread sanitizer is told of libraries it does not see into. glibc frees and copies the
/// name of the time zone in every mktime() and localtime(), under a lock of its own: two threads
/// that do nothing else are reported.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_suppressions();

const char* __tsan_default_suppressions() {
  return "race:tzset_internal\n";
}
