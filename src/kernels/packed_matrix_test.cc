// Packing and dequantizing: a packed row has the values of its file row, and the formats have the values that ggml
// gives them (docs/formats.md#block-formats, test vectors for x_j = (j - 16) / 2).
#include "kernels/packed_matrix.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "kernels/bit_equal.h"
#include "kernels/file_rows.h"
#include "kernels/matmul_cases.h"
#include "tensor/row_formats.h"

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
  const Bytes growth = GetParam() == DType::kTQ1_0 ? 12_B : 0_B;  // of a block: trits become bit pairs
  EXPECT_EQ(packed_bytes(GetParam(), 32, cols),
            (storage_bytes(GetParam(), cols) + growth * (cols / info(GetParam()).block_elements)) * 32);
  EXPECT_EQ(strip_bytes(GetParam(), cols).count % 64, 0);
}

class PackedOnPath : public OnPath {};
INSTANTIATE_TEST_SUITE_P(Paths, PackedOnPath, testing::ValuesIn(usable_cpu_paths()), path_name);

TEST_P(PackedOnPath, StripsHaveTheBytesOfTheReference) {
  for (const DType dtype : kPackableTypes) {
    const Index cols = is_block(dtype) ? 768 : 70;
    const CaseMatrix w(dtype, 16, cols, 5, Scales::kAnyBits);
    for (const Index rows : {1, 7, 15, 16}) {
      std::vector<std::byte> expected(strip_bytes(dtype, cols).size(), std::byte{0xa5});
      std::vector<std::byte> actual(expected.size(), std::byte{0x5a});
      pack_strip(dtype, cols, w.file.data(), w.row_bytes, rows, expected.data());
      file_row_kernels_for(GetParam()).pack_strip(dtype, cols, w.file.data(), w.row_bytes, rows, actual.data());
      const auto differ = std::mismatch(actual.begin(), actual.end(), expected.begin());
      EXPECT_TRUE(actual == expected) << name(dtype) << ", rows " << rows << ": byte " << differ.first - actual.begin();
    }
  }
}

TEST_P(PackedOnPath, FileRowsHaveTheBitsOfTheReference) {
  for (const DType dtype : kPackableTypes) {
    for (const Index cols : {Index{1}, Index{15}, Index{16}, Index{49}, Index{768}}) {
      if (cols % info(dtype).block_elements != 0) continue;
      const CaseMatrix w(dtype, 3, cols, 6, Scales::kAnyBits);
      std::vector<float> expected(static_cast<std::size_t>(cols + 1), 7.0f);
      std::vector<float> actual(expected);
      for (Index r = 0; r < 3; ++r) {
        const std::byte* row = w.file.data() + r * w.row_bytes.count;
        dequantize_file_row(dtype, cols, row, expected.data());
        file_row_kernels_for(GetParam()).dequantize_file_row(dtype, cols, row, actual.data());
        EXPECT_THAT(actual, BitEqual(expected)) << name(dtype) << ", " << cols << " columns";
      }
    }
  }
}

std::vector<float> values_of(DType dtype, std::string_view hex) {
  std::vector<std::byte> block;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    block.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  EXPECT_EQ(static_cast<Index>(block.size()), info(dtype).block_bytes.count);
  const Index elements = info(dtype).block_elements;
  std::vector<float> out(static_cast<std::size_t>(elements));
  dequantize_file_row(dtype, elements, block.data(), out.data());
  return out;
}

std::string repeated(std::string_view hex, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += hex;
  return all;
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

TEST(BlockFormats, MXFP4IsAPowerOfTwoTimesATable) {
  const std::vector<float> values = values_of(DType::kMXFP4, "800e0e1d1d2d2d3c3c4c4b4b5a5a595960");
  const std::vector<float> expected = {-8, -8, -6, -6, -6, -6, -4, -4, -4, -3, -3, -2, -2, -1, -1, 0,
                                       0,  0,  1,  1,  2,  2,  3,  3,  4,  4,  4,  6,  6,  6,  6,  8};
  EXPECT_EQ(values, expected);
  const std::string all_codes = "0123456789abcdef0123456789abcdef";  // low nibbles 1 3 5 ..., high nibbles 0 2 4 ...
  const float table[] = {1, 3, 6, 12, -1, -3, -6, -12, 1, 3, 6, 12, -1, -3, -6, -12,
                         0, 2, 4, 8,  0,  -2, -4, -8,  0, 2, 4, 8,  0,  -2, -4, -8};
  for (const bool flushed : {false, true}) {  // e = 0 and 1 give zeros, also where subnormals would exist
    if (flushed) flush_subnormals();
    const std::pair<const char*, float> scales[] = {{"00", 0.0f}, {"01", 0.0f}, {"02", 0x1p-126f},
                                                    {"7f", 0.5f}, {"80", 1.0f}, {"fe", 0x1p126f}};
    for (const auto& [e, scale] : scales) {
      const std::vector<float> row = values_of(DType::kMXFP4, e + all_codes);
      for (std::size_t j = 0; j < 32; ++j) EXPECT_EQ(row[j], scale * table[j]) << e << " " << j;
    }
  }
  EXPECT_EQ(values_of(DType::kMXFP4, "ff" + repeated("11", 16))[0], 0x1p127f);
}

TEST(BlockFormats, SixBitPairsHaveTheirPlaces) {
  constexpr float kScales[] = {1, 2, 3, 4, 21, 38, 55, 63};
  constexpr float kMinima[] = {5, 6, 7, 8, 9, 26, 43, 60};
  const std::string pairs =
      "003c"
      "003c"
      "4182c3c4054687c895a6b7cf";  // d = dmin = 1
  const std::vector<float> q4_k = values_of(DType::kQ4_K, pairs + repeated("f1", 128));
  const std::vector<float> q5_k = values_of(DType::kQ5_K, pairs + repeated("aa", 32) + repeated("f1", 128));
  for (std::size_t j = 0; j < 256; ++j) {
    const bool odd = j / 32 % 2 != 0;
    EXPECT_EQ(q4_k[j], kScales[j / 32] * (odd ? 15 : 1) - kMinima[j / 32]) << j;
    EXPECT_EQ(q5_k[j], kScales[j / 32] * (odd ? 31 : 1) - kMinima[j / 32]) << j;  // fifth bits of odd groups
  }
}

TEST(BlockFormats, Q2_KAndQ3_KHaveASubScalePer16Values) {
  std::string q2_k;
  for (int i = 0; i < 16; ++i) q2_k += fmt::format("{:x}{:x}", 15 - i, i);  // minimum 15 - i, scale i
  q2_k += repeated("e4", 64) +
          "0040"
          "003c";  // bit pairs 0 1 2 3; d = 2, dmin = 1
  const std::vector<float> two = values_of(DType::kQ2_K, q2_k);
  for (int j = 0; j < 256; ++j) {
    const int i = j / 16;
    EXPECT_EQ(two[static_cast<std::size_t>(j)], static_cast<float>(2 * i * (j / 32 % 4) - (15 - i))) << j;
  }
  // Sub-scale i is -32 + 4 i + i / 4: low four bits in nibbles, high two bits in the last four bytes.
  std::vector<unsigned> bytes(12);
  const auto sub = [](unsigned i) { return 4 * i + i / 4; };
  for (unsigned i = 0; i < 16; ++i) {
    bytes[i % 8] |= (sub(i) & 15) << (i / 8 * 4);
    bytes[8 + i % 4] |= (sub(i) >> 4) << (i / 4 * 2);
  }
  std::string q3_k = repeated("f0", 32) + repeated("e4", 64);  // third bits of the upper half
  for (const unsigned byte : bytes) q3_k += fmt::format("{:02x}", byte);
  const std::vector<float> three = values_of(DType::kQ3_K, q3_k + "003c");
  for (int j = 0; j < 256; ++j) {
    const int scale = static_cast<int>(sub(static_cast<unsigned>(j) / 16)) - 32;
    EXPECT_EQ(three[static_cast<std::size_t>(j)], static_cast<float>(scale * (j / 32 % 4 - (j < 128 ? 4 : 0)))) << j;
  }
}

TEST(BlockFormats, IQ4TakesItsValuesFromATable) {
  const std::vector<float> nl = values_of(DType::kIQ4_NL, "003c0123456789abcdef0123456789abcdef");
  // Scales 6 bits - 32: low nibbles 0-7, high pairs 0 1 2 3 0 1 2 3, so group g has 16 (g % 4) + g - 32.
  const std::vector<float> xs = values_of(DType::kIQ4_XS,
                                          "003c"
                                          "e4e4"
                                          "10325476" +
                                              repeated("0123456789abcdef", 16));
  for (int j = 0; j < 256; ++j) {
    const int nibble = j % 32 < 16 ? 2 * (j % 8) + 1 : 2 * (j % 8);
    const float value = kIQ4Values[static_cast<std::size_t>(nibble)];
    if (j < 32) {
      EXPECT_EQ(nl[static_cast<std::size_t>(j)], value) << j;
    }
    EXPECT_EQ(xs[static_cast<std::size_t>(j)], static_cast<float>(16 * (j / 32 % 4) + j / 32 - 32) * value) << j;
  }
}

TEST(BlockFormats, TritsHaveTheirPlaces) {
  // qs: 54 is (-1, 0, 1, 1, -1), 207 is (1, 0, -1, 1, 0); qh: 187 is (1, -1, 0, 1).
  const std::vector<float> tq1_0 =
      values_of(DType::kTQ1_0, repeated("36", 32) + repeated("cf", 16) + repeated("bb", 4) + "0040");
  constexpr float kFirst[] = {-1, 0, 1, 1, -1};
  constexpr float kSecond[] = {1, 0, -1, 1, 0};
  constexpr float kThird[] = {1, -1, 0, 1};
  for (std::size_t j = 0; j < 256; ++j) {
    const float trit = j < 160 ? kFirst[j / 32] : j < 240 ? kSecond[(j - 160) / 16] : kThird[(j - 240) / 4];
    EXPECT_EQ(tq1_0[j], 2 * trit) << j;
  }
  EXPECT_THAT(values_of(DType::kTQ1_0, repeated("00", 52) + "003c"), testing::Each(-1.0f));
  EXPECT_THAT(values_of(DType::kTQ1_0, repeated("ff", 52) + "003c"), testing::Each(1.0f));
  EXPECT_THAT(values_of(DType::kTQ1_0, repeated("80", 48) + repeated("80", 4) + "003c"), testing::Each(0.0f));
  const std::vector<float> tq2_0 = values_of(DType::kTQ2_0, repeated("86", 64) + "0040");  // 134: (1, 0, -1, 1)
  constexpr float kFourth[] = {1, 0, -1, 1};
  for (std::size_t j = 0; j < 256; ++j) EXPECT_EQ(tq2_0[j], 2 * kFourth[j / 32 % 4]) << j;
}

TEST(BlockFormats, Q1_0IsASignPerValue) {
  const std::vector<float> values = values_of(DType::kQ1_0, "0040" + repeated("01ff0080", 4));
  for (std::size_t j = 0; j < 128; ++j) {
    const std::size_t in = j % 32;
    EXPECT_EQ(values[j], in == 0 || (in >= 8 && in < 16) || in == 31 ? 2.0f : -2.0f) << j;
  }
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

TEST(BlockFormats, ZeroPointsComeOffTheCodes) {
  const std::string codes = "0123456789abcdef0123456789abcdef";  // low nibbles 1 3 5 ..., high nibbles 0 2 4 ...
  const std::vector<float> half = values_of(DType::kQZ4,
                                            "0038"
                                            "fd" +
                                                codes);  // d = 0.5, zero = 8 - 3
  const std::vector<float> brain = values_of(DType::kQZ4B,
                                             "c03f"
                                             "07" +
                                                 codes);  // d = 1.5, zero = 8 + 7
  const std::vector<float> byte = values_of(DType::kQZ8,
                                            "0000003e"
                                            "80" +
                                                repeated("80ff007f", 8));  // d = 1/8, -128
  for (std::size_t j = 0; j < 32; ++j) {
    const auto code = static_cast<float>(2 * (j % 8) + (j < 16 ? 1 : 0));
    EXPECT_EQ(half[j], 0.5f * (code - 5)) << j;
    EXPECT_EQ(brain[j], 1.5f * (code - 15)) << j;
    constexpr float kBytes[] = {0, 127, 128, 255};
    EXPECT_EQ(byte[j], kBytes[j % 4] / 8) << j;
  }
}

TEST(BlockFormats, GroupsOf128AreFourTimes32NibblesBehindScaleAndZero) {
  const std::string codes = repeated("10", 16) + repeated("32", 16) + repeated("54", 16) + repeated("f6", 16);
  const std::vector<float> half = values_of(DType::kQZ4_128, "003801" + codes);    // d = 0.5, zero = 8 + 1
  const std::vector<float> brain = values_of(DType::kQZ4B_128, "c03fff" + codes);  // d = 1.5, zero = 8 - 1
  constexpr float kCodes[] = {0, 1, 2, 3, 4, 5, 6, 15};                            // of 16 values each
  for (std::size_t j = 0; j < 128; ++j) {
    EXPECT_EQ(half[j], 0.5f * (kCodes[j / 16] - 9)) << j;
    EXPECT_EQ(brain[j], 1.5f * (kCodes[j / 16] - 7)) << j;
  }
}

TEST(BlockFormats, QC8IsSignedBytesWithAScaleInFp32) {
  const std::vector<float> values = values_of(DType::kQC8, "0000003e" + repeated("80ff007f", 32));  // d = 1/8
  constexpr float kBytes[] = {-128, -1, 0, 127};
  for (std::size_t j = 0; j < 128; ++j) EXPECT_EQ(values[j], kBytes[j % 4] / 8) << j;
}

TEST(BlockFormats, TQ2FIsTernaryWithAScaleInFp32) {
  const std::vector<float> values = values_of(DType::kTQ2F, repeated("86", 32) + "0100803f");  // 134: (1, 0, -1, 1)
  constexpr float kFirst[] = {1, 0, -1, 1};
  for (std::size_t j = 0; j < 128; ++j) EXPECT_EQ(values[j], kFirst[j / 32] * 0x1.000002p0f) << j;
}

TEST(RowFormats, NF4IsATableTimesItsScale) {
  // Scale 3; words 0x76543210 + w 0x11111111: nibble n of word w is n + w.
  std::string words;
  for (unsigned w = 0; w < 8; ++w) {
    for (unsigned b = 0; b < 4; ++b) words += fmt::format("{:x}{:x}", 2 * b + 1 + w, 2 * b + w);
  }
  const std::vector<float> values = values_of(DType::kNF4, "00004040" + words);
  for (std::size_t j = 0; j < 64; ++j) EXPECT_EQ(values[j], kNF4Values[j / 8 + j % 8] * 3.0f) << j;
}

TEST(RowFormats, FP8HasTheValuesOfE4M3) {  // arXiv:2209.05433, table 1
  EXPECT_EQ(float_of_e4m3(0x00), 0.0f);
  EXPECT_TRUE(std::signbit(float_of_e4m3(0x80)));
  EXPECT_EQ(float_of_e4m3(0x01), 0x1p-9f);  // least subnormal
  EXPECT_EQ(float_of_e4m3(0x07), 0x7p-9f);  // largest subnormal
  EXPECT_EQ(float_of_e4m3(0x08), 0x1p-6f);  // least normal
  EXPECT_EQ(float_of_e4m3(0x38), 1.0f);
  EXPECT_EQ(float_of_e4m3(0x7e), 448.0f);  // largest
  EXPECT_EQ(float_of_e4m3(0xfe), -448.0f);
  EXPECT_TRUE(std::isnan(float_of_e4m3(0x7f)));
  EXPECT_TRUE(std::isnan(float_of_e4m3(0xff)));
  for (unsigned code = 1; code < 0x7f; ++code) {
    EXPECT_GT(float_of_e4m3(static_cast<std::uint8_t>(code)), float_of_e4m3(static_cast<std::uint8_t>(code - 1)));
  }
  const std::vector<float> values = values_of(DType::kFP8, "0000003f" + repeated("38c001fe", 16));
  constexpr float kFirst[] = {0.5f, -1.0f, 0x1p-10f, -224.0f};
  for (std::size_t j = 0; j < 64; ++j) EXPECT_EQ(values[j], kFirst[j % 4]) << j;
}

}  // namespace
}  // namespace jericho
