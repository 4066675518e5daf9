#include "remoting/input_buffer.h"

#include <cstring>
#include <random>
#include <string>

#include <gtest/gtest.h>

namespace apogee::remoting {
namespace {

void fill(InputBuffer& input, std::string_view text, std::size_t wanted = 0) {
  while (!text.empty()) {
    const MutableBytes space = input.space(wanted);
    const std::size_t n = std::min(text.size(), space.size());
    std::memcpy(space.data(), text.data(), n);
    input.commit(n);
    text.remove_prefix(n);
  }
}

TEST(InputBuffer, KeepsEveryByteHoweverItIsFilledAndConsumed) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    InputBuffer input;
    std::string expected;
    for (int step = 0; step < 100; ++step) {
      std::string piece(random() % 30'000, '\0');
      for (char& c : piece) c = static_cast<char>(random());
      fill(input, piece, random() % 2 == 0 ? 0 : expected.size() + random() % 100'000);
      expected += piece;
      const std::size_t gone = random() % (expected.size() + 1);
      input.consume(gone);
      expected.erase(0, gone);
      ASSERT_EQ(as_text(input.bytes()), expected);
      input.release_if_empty();
    }
  }
}

TEST(InputBuffer, HoldsNoMemoryWhileItIsEmpty) {
  InputBuffer input;
  EXPECT_EQ(input.capacity(), 0u);
  fill(input, std::string(300'000, 'x'));
  input.release_if_empty();
  EXPECT_GE(input.capacity(), 300'000u) << "not empty: must stay";
  input.consume(300'000);
  input.release_if_empty();
  EXPECT_EQ(input.capacity(), 0u);
}

TEST(InputBuffer, DoesNotBelieveALengthBeforeItsBytesHaveCome) {
  InputBuffer input;
  fill(input, "four", 16 << 20);
  EXPECT_EQ(input.capacity(), InputBuffer::kUsualBytes);
  fill(input, std::string(100'000, 'x'), 16 << 20);
  EXPECT_LE(input.capacity(), 500'000u);
}

TEST(InputBuffer, GrowsNoFurtherThanItsFrame) {
  InputBuffer input;
  fill(input, std::string(70'000, 'x'), 70'000);
  EXPECT_LT(input.capacity(), 80'000u);
}

}  // namespace
}  // namespace apogee::remoting
