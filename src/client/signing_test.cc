#include "client/signing.h"

#include <gtest/gtest.h>

namespace apogee::client {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

TEST(Signature, IsBase64OfHmacSha1) {
  EXPECT_EQ(signature("key", {}, as_bytes("The quick brown fox jumps over the lazy dog")),
            "3nybhbi3iqa8ino29wqQcBydtNk=");
}

TEST(Signature, CoversValuesInTheOrderOfTheirNamesAndThenTheBody) {
  const Fields fields = {{"topic", "orders"}, {"AccessKey", "rocketmq2"}};
  EXPECT_EQ(signature("12345678", fields, as_bytes("body")), "kFVlYUci7dCuY0Z0nLW9qdMFI6g=");
}

TEST(Signature, LeavesAnOlderSignatureOut) {
  const Fields fields = {{"topic", "orders"}, {"Signature", "old"}, {"AccessKey", "rocketmq2"}};
  EXPECT_EQ(signature("12345678", fields, as_bytes("body")), "kFVlYUci7dCuY0Z0nLW9qdMFI6g=");
}

TEST(Signature, ComparesNamesByByte) {  // 'Z' before 'a'
  const Fields one = {{"a", "2"}, {"Z", "1"}};
  const Fields other = {{"x", "12"}};
  EXPECT_EQ(signature("k", one, {}), signature("k", other, {}));
}

}  // namespace
}  // namespace apogee::client
