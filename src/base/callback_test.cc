#include "base/callback.h"

#include <array>
#include <functional>
#include <memory>
#include <string>

#include <gtest/gtest.h>

namespace apogee {
namespace {

TEST(Callback, CallsWhatItWasGivenWhereverThatLies) {
  std::string said;
  const std::array<char, 200> large{'x'};
  Callback<void(std::string)> small = [&](const std::string& word) { said += word; };
  Callback<void(std::string)> big = [&, large](const std::string& word) {
    said += large[0] + word;
  };
  small("a");
  big("b");
  Callback<void(std::string)> moved = std::move(big);
  moved("c");
  EXPECT_EQ(said, "axbxc");
  EXPECT_FALSE(big);
  EXPECT_TRUE(moved);
}

TEST(Callback, OwnsWhatItHoldsOnce) {
  auto owned = std::make_shared<int>(1);
  Callback<void()> first = [owned] {};
  EXPECT_EQ(owned.use_count(), 2);
  Callback<void()> second = std::move(first);
  EXPECT_EQ(owned.use_count(), 2);
  first = [owned] {};
  EXPECT_EQ(owned.use_count(), 3);
  first = std::move(second);
  EXPECT_EQ(owned.use_count(), 2);
  first = nullptr;
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(Callback, TakesWhatCannotBeCopied) {
  int seen = 0;
  Callback<void(std::unique_ptr<int>)> add = [sum = std::make_unique<int>(1),
                                              &seen](const std::unique_ptr<int>& more) {
    *sum += *more;
    seen = *sum;
  };
  add(std::make_unique<int>(2));
  add(std::make_unique<int>(3));
  EXPECT_EQ(seen, 6);
}

TEST(Callback, IsFalseWithoutAFunction) {
  EXPECT_FALSE(Callback<void()>{});
  EXPECT_FALSE(Callback<void()>{nullptr});
  EXPECT_TRUE(Callback<void()>{std::function<void()>{[] {}}});
}

}  // namespace
}  // namespace apogee
