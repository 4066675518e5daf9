#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "main/commands.h"
#include "testing/ran.h"

namespace apogee {
namespace {

void expect_page(const std::string& page, const std::string& words) {
  std::ifstream file{APOGEE_SOURCE_DIR "/docs/" + page};
  std::stringstream text;
  text << file.rdbuf();
  const auto made =
      testing::run_kept([&] { return run_reference(std::vector<std::string>{words}); });
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_TRUE(text.str() == made.out) << "`apogee reference " << words << "` > docs/" << page;
}

TEST(ReferencePages, AreThoseThatAreMadeNow) {
  expect_page("configuration.md", "configuration");
  expect_page("request-codes.md", "codes");
  expect_page("admin.md", "commands");
}

}  // namespace
}  // namespace apogee
