#include <gtest/gtest.h>

#include "testing/seeds.h"
#include "tests/crash/crash_run.h"

namespace apogee::crash {
namespace {

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += "\n  " + line;
  return text;
}

class BrokerCrash : public ::testing::TestWithParam<std::uint64_t> {
 public:
  static constexpr std::uint64_t kParts = 6;
};

TEST_P(BrokerCrash, KeepsEveryPromiseHoweverItEnds) {
  const apogee::testing::Seeds seeds{150, {GetParam(), kParts}};
  for (std::uint64_t seed = seeds.first; seed <= seeds.last; seed += seeds.step) {
    CrashRun run{seed};
    const auto violations = run.run();
    if (violations.empty()) continue;
    FAIL() << "APOGEE_SEED=" << seed << " repeats it: " << run.history() << joined(violations)
           << "\nthe broker's log:" << joined(run.log());
  }
}

INSTANTIATE_TEST_SUITE_P(, BrokerCrash, ::testing::Range<std::uint64_t>(0, BrokerCrash::kParts));

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
