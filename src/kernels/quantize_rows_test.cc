// Rounding to every type: the bytes of the reference quantizers for x_j = (j - 16) / 2 and for trits, and for all types
// that what is read back is near, and nearer with more bits.
#include "kernels/quantize_rows.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "kernels/bit_equal.h"
#include "kernels/file_rows.h"
#include "kernels/matmul_cases.h"

namespace jericho {
namespace {

std::string hex_of(DType dtype, const std::vector<float>& x) {
  std::vector<std::byte> row(storage_bytes(dtype, static_cast<Index>(x.size())).size());
  quantize_row(dtype, x.data(), static_cast<Index>(x.size()), row.data());
  std::string hex;
  for (const std::byte b : row) hex += fmt::format("{:02x}", static_cast<int>(b));
  return hex;
}

std::vector<float> through(DType dtype, const std::vector<float>& x) {
  std::vector<std::byte> row(storage_bytes(dtype, static_cast<Index>(x.size())).size());
  quantize_row(dtype, x.data(), static_cast<Index>(x.size()), row.data());
  std::vector<float> back(x.size());
  dequantize_file_row(dtype, static_cast<Index>(x.size()), row.data(), back.data());
  return back;
}

TEST(QuantizeRow, GivesTheBytesOfTheReference) {
  std::vector<float> x;
  for (int j = 0; j < 32; ++j) x.push_back(static_cast<float>(j - 16) / 2);
  EXPECT_EQ(hex_of(DType::kQ4_0, x), "003c809191a2a2b3b3c4c4d5d5e6e6f7f7f8");
  EXPECT_EQ(hex_of(DType::kQ4_1, x), "223c00c880809191a2a2b3b3c4c4d5d5e6e6f7f7");
  EXPECT_EQ(hex_of(DType::kQ5_0, x), "00380000ffff00112233445566778899aabbccddeeff");
  EXPECT_EQ(hex_of(DType::kMXFP4, x), "800e0e1d1d2d2d3c3c4c4b4b5a5a595960");
  std::string q8_0 = "082c";
  for (const int code : {-127, -119, -111, -103, -95, -87, -79, -71, -64, -56, -48, -40, -32, -24, -16, -8,
                         0,    8,    16,   24,   32,  40,  48,  56,  64,  71,  79,  87,  95,  103, 111, 119}) {
    q8_0 += fmt::format("{:02x}", code & 255);
  }
  EXPECT_EQ(hex_of(DType::kQ8_0, x), q8_0);
  // 15.5 / 31 = 0.5 from -8: code j.
  EXPECT_EQ(hex_of(DType::kQ5_1, x), "003800c80000ffff00112233445566778899aabbccddeeff");
  EXPECT_EQ(hex_of(DType::kBF16, {1.0f, 3.14159274f, 1.00390625f, 1.01171875f, -0.1f}), "803f4940803f823fcdbd");
  EXPECT_EQ(hex_of(DType::kF16, {1.0f, 65520.0f, 0x1p-24f}), "003c007c0100");
}

TEST(QuantizeRow, GivesTheBytesOfTrits) {
  const auto with = [](std::initializer_list<float> trits, std::size_t begin, std::size_t stride,
                       std::vector<float> x) {
    for (const float trit : trits) {
      for (std::size_t m = 0; m < stride; ++m) x[begin + m] = trit;
      begin += stride;
    }
    return x;
  };
  std::vector<float> x = with({-1, 0, 1, 1, -1}, 0, 32, std::vector<float>(256));
  x = with({1, 0, -1, 1, 0}, 160, 16, x);
  x = with({1, -1, 0, 1}, 240, 4, x);
  std::string expected;
  for (int i = 0; i < 32; ++i) expected += "36";                   // 54
  for (int i = 0; i < 16; ++i) expected += "cf";                   // 207
  EXPECT_EQ(hex_of(DType::kTQ1_0, x), expected + "bbbbbbbb003c");  // 187; d = 1
  x = with({1, 0, -1, 1}, 0, 32, x);
  x = with({1, 0, -1, 1}, 128, 32, x);
  expected.clear();
  for (int i = 0; i < 64; ++i) expected += "86";  // 134
  EXPECT_EQ(hex_of(DType::kTQ2_0, x), expected + "003c");
}

TEST(QuantizeRow, Q1_0KeepsSignsAndTheMeanMagnitude) {
  std::vector<float> x(128, -1.0f);
  x[0] = 5.0f;
  x[15] = 0.0f;
  EXPECT_EQ(hex_of(DType::kQ1_0, x), "183c0180" + std::string(28, '0'));  // 131 / 128
}

std::string type_name(const testing::TestParamInfo<DType>& test) { return std::string(name(test.param)); }

class Quantized : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override { flush_subnormals(); }
};
std::vector<DType> quantizable_types() {
  std::vector<DType> types;
  std::copy_if(kPackableTypes.begin(), kPackableTypes.end(), std::back_inserter(types), is_quantizable);
  return types;
}
INSTANTIATE_TEST_SUITE_P(Types, Quantized, testing::ValuesIn(quantizable_types()), type_name);

// Relative root of the mean square error on normal values.
double error_of(DType dtype) {
  const std::vector<float> x = random_row(64 * 256, 3);
  const std::vector<float> back = through(dtype, x);
  double error = 0, total = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    error += std::pow(double{back[i]} - double{x[i]}, 2);
    total += double{x[i]} * double{x[i]};
  }
  return std::sqrt(error / total);
}

TEST_P(Quantized, StaysNear) {
  constexpr std::pair<DType, double> kBounds[] = {
      {DType::kF32, 0},      {DType::kF16, 3e-4},   {DType::kBF16, 2e-3}, {DType::kQ1_0, 0.62},  {DType::kTQ1_0, 0.95},
      {DType::kTQ2_0, 0.95}, {DType::kQ2_K, 0.30},  {DType::kQ3_K, 0.15}, {DType::kQ4_0, 0.10},  {DType::kQ4_1, 0.09},
      {DType::kQ4_K, 0.075}, {DType::kMXFP4, 0.13}, {DType::kQ5_0, 0.05}, {DType::kQ5_1, 0.045}, {DType::kQ5_K, 0.037},
      {DType::kQ6_K, 0.019}, {DType::kQ8_0, 0.0065}};
  const double error = error_of(GetParam());
  RecordProperty("error", fmt::format("{:.3e}", error));
  bool found = false;
  for (const auto& [dtype, bound] : kBounds) {
    if (dtype != GetParam()) continue;
    EXPECT_LE(error, bound);
    found = true;
  }
  EXPECT_TRUE(found) << "a type without a bound";
}

TEST_P(Quantized, GivesZerosForZerosAndBlocksForAnything) {
  const std::vector<float> zeros(512);
  EXPECT_EQ(through(GetParam(), zeros), zeros);
  for (const Values values : {Values::kSpecial, Values::kPlain}) through(GetParam(), random_row(512, 4, values));
}

TEST_P(Quantized, SignsAndScalesCommute) {  // powers of two change scales only
  const std::vector<float> x = random_row(512, 5);
  std::vector<float> scaled(x);
  for (float& v : scaled) v *= 0x1p-3f;
  std::vector<float> expected = through(GetParam(), x);
  for (float& v : expected) v *= 0x1p-3f;
  EXPECT_THAT(through(GetParam(), scaled), BitEqual(expected));
}

class QuantizedOnPath : public OnPath {};
INSTANTIATE_TEST_SUITE_P(Paths, QuantizedOnPath, testing::ValuesIn(usable_cpu_paths()), path_name);

// Rows of every width of value, blocks of one value, with one sign, and zeros of both signs.
std::vector<float> row_of_all_kinds(Index cols, unsigned seed) {
  std::vector<float> x = random_row(cols, seed, Values::kPlain, seed % 2 == 0 ? 1.0f : 0.02f);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t kind = (i / 32 + seed) % 12;
    if (kind == 0) x[i] = i % 3 == 0 ? 0.0f : -0.0f;
    if (kind == 1) x[i] = std::abs(x[i]);
    if (kind == 2) x[i] = -std::abs(x[i]) - 1.0f;
    if (kind == 3) x[i] = seed % 3 == 0 ? 0.75f : -0.75f;
    if (kind == 4) x[i] = i % 2 == 0 ? 1.0f : -1.0f;
    if (kind == 5) x[i] = 1.0f + 1e-5f * x[i];
    if (kind == 6) x[i] *= 1e-9f;
    if (kind == 7 && i % 32 != 5) x[i] = 0.0f;
  }
  return x;
}

TEST_P(QuantizedOnPath, RowsHaveTheBytesOfTheReference) {
  for (const DType dtype : quantizable_types()) {
    const Index block = info(dtype).block_elements;
    for (const Index cols : {block, 3 * block, 4 * block, round_up(Index{2048 + 256}, block), Index{2048 + 7}}) {
      if (cols % block != 0) continue;
      for (unsigned seed = 0; seed < 6; ++seed) {
        const std::vector<float> x = row_of_all_kinds(cols, seed);
        std::vector<std::byte> expected(storage_bytes(dtype, cols).size() + 1, std::byte{0x5a});
        std::vector<std::byte> actual(expected);
        quantize_row(dtype, x.data(), cols, expected.data());
        file_row_kernels_for(GetParam()).quantize_row(dtype, x.data(), cols, actual.data());
        const auto differ = std::mismatch(actual.begin(), actual.end(), expected.begin());
        EXPECT_TRUE(actual == expected) << name(dtype) << ", " << cols << " columns, seed " << seed << ": byte "
                                        << differ.first - actual.begin();
      }
    }
  }
}

TEST_P(QuantizedOnPath, ValuesThatAreNotFiniteSpoilNoOtherBlock) {
  const std::vector<float> x = random_row(768, 4), special = random_row(256, 5, Values::kSpecial);
  for (const DType dtype : quantizable_types()) {
    const auto bytes_of = [&](const std::vector<float>& row) {
      std::vector<std::byte> bytes(storage_bytes(dtype, 768).size() + 1, std::byte{0x5a});
      file_row_kernels_for(GetParam()).quantize_row(dtype, row.data(), 768, bytes.data());
      return bytes;
    };
    for (const std::size_t spoiled : {0u, 1u, 2u}) {
      std::vector<float> row = x;
      std::copy(special.begin(), special.end(), row.begin() + static_cast<std::ptrdiff_t>(256 * spoiled));
      const std::vector<std::byte> expected = bytes_of(x), actual = bytes_of(row);
      const std::size_t size = storage_bytes(dtype, 256).size();
      EXPECT_EQ(actual.back(), std::byte{0x5a}) << name(dtype);
      for (std::size_t i = 0; i < 3 * size; ++i) {
        ASSERT_TRUE(i / size == spoiled || actual[i] == expected[i]) << name(dtype) << ", byte " << i;
      }
    }
  }
}

TEST(QuantizeRow, SearchesBeatPlainRoundingAtEqualBits) {
  EXPECT_LT(error_of(DType::kQ4_K), error_of(DType::kQ4_0));
  EXPECT_LT(error_of(DType::kQ5_K), error_of(DType::kQ5_0));
  EXPECT_LT(error_of(DType::kQ3_K), error_of(DType::kQ2_K));
  EXPECT_LT(error_of(DType::kQ4_K), error_of(DType::kQ3_K));
}

TEST(QuantizeRow, CodebooksAreNotRoundedTo) {
  EXPECT_FALSE(is_quantizable(DType::kIQ4_NL));
  EXPECT_FALSE(is_quantizable(DType::kIQ4_XS));
  EXPECT_FALSE(is_quantizable(DType::kI8));
}

}  // namespace
}  // namespace jericho
