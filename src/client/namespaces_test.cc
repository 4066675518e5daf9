#include "client/namespaces.h"

#include <gtest/gtest.h>

namespace apogee::client {
namespace {

TEST(Namespaces, GoInFrontOfANameAndComeOffAgain) {
  EXPECT_EQ(wrapped("orders", "MQ_INST_1"), "MQ_INST_1%orders");
  EXPECT_EQ(unwrapped("MQ_INST_1%orders", "MQ_INST_1"), "orders");
}

TEST(Namespaces, StandBehindTheRetryAndDeadLetterPrefixes) {
  EXPECT_EQ(wrapped("%RETRY%billing", "ns"), "%RETRY%ns%billing");
  EXPECT_EQ(wrapped("%DLQ%billing", "ns"), "%DLQ%ns%billing");
  EXPECT_EQ(unwrapped("%RETRY%ns%billing", "ns"), "%RETRY%billing");
  EXPECT_EQ(unwrapped("%DLQ%ns%billing", "ns"), "%DLQ%billing");
}

TEST(Namespaces, AreNotPutOnTwice) {
  EXPECT_EQ(wrapped("ns%orders", "ns"), "ns%orders");
  EXPECT_EQ(wrapped("%RETRY%ns%billing", "ns"), "%RETRY%ns%billing");
}

TEST(Namespaces, LeaveSystemNamesAndOtherNamespacesAlone) {
  EXPECT_EQ(wrapped("RMQ_SYS_TRACE_TOPIC", "ns"), "RMQ_SYS_TRACE_TOPIC");
  EXPECT_EQ(wrapped("CID_RMQ_SYS_x", "ns"), "CID_RMQ_SYS_x");
  EXPECT_EQ(unwrapped("other%orders", "ns"), "other%orders");
  EXPECT_EQ(unwrapped("nsorders", "ns"), "nsorders");
}

TEST(Namespaces, OfNoLettersChangeNothing) {
  EXPECT_EQ(wrapped("orders", ""), "orders");
  EXPECT_EQ(unwrapped("a%orders", ""), "a%orders");
  EXPECT_EQ(wrapped("", "ns"), "");
}

}  // namespace
}  // namespace apogee::client
