// Records of event files against bytes that TensorBoard reads.
#include "train/event_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

namespace jericho {
namespace {

std::string hex(const std::string& bytes) {
  std::string out;
  for (const char byte : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return out;
}

TEST(EventFile, ChecksumsTheKnownDigits) { EXPECT_EQ(crc32c("123456789"), 0xe3069283u); }

TEST(EventFile, BeginsWithItsVersion) {
  EXPECT_EQ(hex(version_record(1700000000.0)),
            "1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d");
}

TEST(EventFile, HoldsAScalarAsTensorBoardWritesIt) {
  EXPECT_EQ(hex(scalar_record(1700000001.0, 10, "train/loss", 2.5f)),
            "200000000000000029eda9500900004040fc54d941100a2a130a110a0a747261696e2f6c6f73731500002040a6466f5b");
}

}  // namespace
}  // namespace jericho
