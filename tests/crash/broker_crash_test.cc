#include <cstdlib>

#include <gtest/gtest.h>

#include "tests/crash/crash_run.h"

/// APOGEE_SEED=n repeats one run, APOGEE_SEEDS=n makes it longer than the build's.
namespace apogee::crash {
namespace {

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text ? std::stoull(text) : otherwise;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += "\n  " + line;
  return text;
}

TEST(BrokerCrash, KeepsEveryPromiseHoweverItEnds) {
  const std::uint64_t only = number("APOGEE_SEED", 0);
  const std::uint64_t last = only ? only : number("APOGEE_SEEDS", 150);
  for (std::uint64_t seed = only ? only : 1; seed <= last; ++seed) {
    CrashRun run{seed};
    const auto violations = run.run();
    if (violations.empty()) continue;
    FAIL() << "APOGEE_SEED=" << seed << " repeats it: " << run.history() << joined(violations)
           << "\nthe broker's log:" << joined(run.log());
  }
}

/// The checker's own test: each broken broker is found within the seeds that its mutant names.
class BrokenBroker : public ::testing::TestWithParam<std::size_t> {};

TEST_P(BrokenBroker, IsFound) {
  const Mutant& mutant = mutants()[GetParam()];
  for (std::uint64_t seed = 1; seed <= mutant.seeds; ++seed) {
    CrashRun run{seed, mutant};
    const auto violations = run.run();
    if (violations.empty()) continue;
    RecordProperty("seed", std::to_string(seed));
    std::printf("%s: caught by seed %d of %d: %s\n", mutant.name, static_cast<int>(seed),
                static_cast<int>(mutant.seeds), violations.front().c_str());
    return;
  }
  FAIL() << mutant.what << ": not caught within " << mutant.seeds << " seeds";
}

INSTANTIATE_TEST_SUITE_P(Mutants, BrokenBroker, ::testing::Range<std::size_t>(0, mutants().size()),
                         [](const auto& tested) {
                           std::string name = mutants()[tested.param].name;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace apogee::crash
