#include "client/compression.h"

#include <random>

#include <gtest/gtest.h>

#include "testing/golden.h"

namespace apogee::client {
namespace {

constexpr Compression kAll[] = {Compression::kZlib, Compression::kLz4, Compression::kZstd};

Buffer text_of(std::size_t bytes, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  Buffer text;
  while (text.size() < bytes) text += "word" + std::to_string(random() % 50) + " ";
  text.resize(bytes);
  return text;
}

TEST(Compression, GivesBackBodiesOfAllSizesByEveryMethod) {
  for (const Compression method : kAll) {
    for (const std::size_t size : {0, 1, 100, 4'095, 4'096, 4'097, 70'000, 5'000'000}) {
      const Buffer body = text_of(size, size);
      auto small = compressed(as_bytes(body), method, 5);
      ASSERT_TRUE(small) << small.error().detail;
      auto again = decompressed(as_bytes(*small), sys_flag_of(method));
      ASSERT_TRUE(again) << again.error().detail;
      EXPECT_TRUE(*again == body) << size;
      if (size > 4'000) {
        EXPECT_LT(small->size(), size / 2);
      }
    }
  }
}

TEST(Compression, CarriesJavasBits) {
  EXPECT_EQ(sys_flag_of(Compression::kLz4), 0x101);
  EXPECT_EQ(sys_flag_of(Compression::kZstd), 0x201);
  EXPECT_EQ(sys_flag_of(Compression::kZlib), 0x301);
}

TEST(Compression, WithoutTypeBitsIsZlib) {
  auto small = compressed(as_bytes("hello hello hello"), Compression::kZlib, 5);
  auto body = decompressed(as_bytes(*small), 0x1);
  ASSERT_TRUE(body);
  EXPECT_EQ(*body, "hello hello hello");
}

TEST(Compression, ReadsWhatOtherWritersMade) {  // python3: zlib.compressed(b"apogee" * 3, 5)
  auto body = decompressed(as_bytes(testing::from_hex("785e4b2cc84f4f4d4d44220145c60754")), 0x301);
  ASSERT_TRUE(body) << body.error().detail;
  EXPECT_EQ(*body, "apogeeapogeeapogee");
  auto plain = decompressed(as_bytes("as it is"), 0);
  EXPECT_EQ(*plain, "as it is");
}

// lz4-java's LZ4FrameInputStream refuses frames whose blocks depend on each other.
TEST(Compression, MakesLz4FramesOfIndependentBlocks) {
  auto small = compressed(as_bytes(text_of(9'000'000, 1)), Compression::kLz4, 5);
  constexpr unsigned char kIndependent = 0x20;
  EXPECT_NE(static_cast<unsigned char>((*small)[4]) & kIndependent, 0);
}

TEST(Compression, RefusesWhatItDoesNotKnow) {
  auto body = decompressed(as_bytes("x"), 0x401);
  ASSERT_FALSE(body);
  EXPECT_EQ(body.error().code, Errc::kUnsupported);
}

TEST(Compression, RefusesCutAndDamagedDataWithoutCrashing) {
  for (const Compression method : kAll) {
    const Buffer body = text_of(20'000, 7);
    const Buffer small = *compressed(as_bytes(body), method, 5);
    for (std::size_t cut = 0; cut < small.size(); cut += 37) {
      auto result = decompressed(as_bytes(small).first(cut), sys_flag_of(method));
      EXPECT_FALSE(result) << cut;
    }
    std::mt19937_64 random{3};
    for (int i = 0; i < 200; ++i) {
      Buffer bent = small;
      bent[random() % bent.size()] ^= static_cast<char>(1 + random() % 255);
      (void)decompressed(as_bytes(bent), sys_flag_of(method));
    }
  }
}

TEST(Compression, StopsAtItsLimit) {
  const Buffer zeros(kDecompressedBytesMax + 1, '\0');
  auto bomb = compressed(as_bytes(zeros), Compression::kZstd, 1);
  ASSERT_TRUE(bomb);
  auto result = decompressed(as_bytes(*bomb), sys_flag_of(Compression::kZstd));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::kMalformed);
}

}  // namespace
}  // namespace apogee::client
