// Packing and dequantizing: a packed row has the values of its file row, and the formats have the values that ggml
// gives them (docs/formats.md#block-formats, test vectors for x_j = (j - 16) / 2).
#include "kernels/packed_matrix.h"

#include <algorithm>
#include <string_view>

#include "kernels/bit_equal.h"
#include "kernels/matmul_cases.h"

namespace jericho {
namespace {

class Packed : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, Packed, testing::ValuesIn(kPackableTypes),
                         [](const auto& test) { return std::string(name(test.param)); });

TEST_P(Packed, RowsHaveTheValuesOfTheirFileRows) {
  flush_subnormals();
  for (const Index rows : {1, 16, 21}) {
    const Index cols = is_block(GetParam()) ? 768 : 70;
    for (const Scales scales : {Scales::kPlain, Scales::kAnyBits}) {
      const CaseMatrix w(GetParam(), rows, cols, static_cast<unsigned>(rows), scales);
      for (Index r = 0; r < rows; ++r) {
        std::vector<float> from_file(static_cast<std::size_t>(cols));
        std::vector<float> from_strip(from_file);
        dequantize_file_row(GetParam(), cols, w.file.data() + r * w.row_bytes.count, from_file.data());
        dequantize_row(w.view, r, from_strip.data());
        ASSERT_THAT(from_strip, BitEqual(from_file)) << "row " << r;
      }
    }
  }
}

TEST_P(Packed, StripsTakeTheBytesOfTheFile) {
  const Index cols = 1024;
  EXPECT_EQ(packed_bytes(GetParam(), 32, cols), storage_bytes(GetParam(), cols) * 32);
  EXPECT_EQ(strip_bytes(GetParam(), cols).count % 64, 0);
}

std::vector<float> values_of(DType dtype, std::string_view hex) {
  std::vector<std::byte> block;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    block.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  EXPECT_EQ(static_cast<Index>(block.size()), info(dtype).block_bytes.count);
  std::vector<float> out(32);
  dequantize_file_row(dtype, 32, block.data(), out.data());
  return out;
}

TEST(BlockFormats, TestVectorsHaveTheirValues) {
  const std::vector<float> q4_0 = values_of(DType::kQ4_0, "003c809191a2a2b3b3c4c4d5d5e6e6f7f7f8");
  const std::vector<float> q4_1 = values_of(DType::kQ4_1, "223c00c880809191a2a2b3b3c4c4d5d5e6e6f7f7");
  const std::vector<float> q5_0 = values_of(DType::kQ5_0, "00380000ffff00112233445566778899aabbccddeeff");
  for (int j = 0; j < 32; ++j) {
    const auto at = static_cast<std::size_t>(j);
    const float x = static_cast<float>(j - 16) / 2;
    EXPECT_LE(std::abs(q4_0[at] - x), j == 31 ? 1.0f : 0.5f) << j;                 // d = 1, codes end at 7
    EXPECT_LE(std::abs(q4_1[at] - x), 0.5f * to_float(F16{0x3c22}) + 0.02f) << j;  // d = f16(15.5 / 15), from -8
    EXPECT_EQ(q5_0[at], x) << j;                                                   // d = 0.5: exact
  }
  EXPECT_EQ(q4_0[0], -8.0f);
  EXPECT_EQ(q4_0[31], 7.0f);
  EXPECT_EQ(q4_1[0], -8.0f);
}

TEST(BlockFormats, Q8_0IsScaleTimesSignedCode) {
  std::vector<std::byte> block(34);
  block[0] = std::byte{0x08};
  block[1] = std::byte{0x2c};
  constexpr int kCodes[] = {-127, -119, -111, -103, -95, -87, -79, -71, -64, -56, -48, -40, -32, -24, -16, -8,
                            0,    8,    16,   24,   32,  40,  48,  56,  64,  71,  79,  87,  95,  103, 111, 119};
  for (std::size_t j = 0; j < 32; ++j) block[2 + j] = static_cast<std::byte>(kCodes[j]);
  std::vector<float> out(32);
  dequantize_file_row(DType::kQ8_0, 32, block.data(), out.data());
  for (std::size_t j = 0; j < 32; ++j) EXPECT_EQ(out[j], to_float(F16{0x2c08}) * static_cast<float>(kCodes[j])) << j;
}

}  // namespace
}  // namespace jericho
