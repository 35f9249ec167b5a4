// NF4 with doubly quantized scales: the worked example, the error of any value, and decoding of parts of rows.
#include "train/nf4.h"

#include <cmath>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tensor/row_formats.h"
#include "train/optimizers/dynamic_map.h"

namespace jericho {
namespace {

struct Weight {
  Weight(Index rows, Index cols, const std::vector<float>& values)
      : memory(Nf4Weight::bytes(rows, cols).size()), nf4(memory, rows, cols, chosen_cpu_path()) {
    scales.resize(static_cast<std::size_t>(Nf4Weight::scales(rows, cols)));
    for (Index r = 0; r < rows; ++r)
      nf4.quantize_row(r, values.data() + r * cols, scales.data() + r * (cols / kNf4Block));
    nf4.quantize_scales(scales);
  }
  std::vector<std::byte> memory;
  Nf4Weight nf4;
  std::vector<float> scales{};
};

std::vector<float> normals(Index count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

TEST(Nf4, GivesTheWorkedExample) {
  std::vector<float> values = {.12f, -.5f, .031f, 0, .25f, -.07f, .4f, -.33f};
  values.resize(64, 0.0f);
  const Weight weight(1, 64, values);
  EXPECT_EQ(weight.scales[0], 0.5f);
  const std::vector<int> codes = {10, 0, 8, 7, 12, 5, 14, 1};
  const std::vector<float> back = {.123056151f, -.5f,          .0397901498f, 0,
                                   .220354915f, -.0923867151f, .361478418f,  -.3480964f};
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const int code = weight.nf4.code(0, static_cast<Index>(i));
    EXPECT_EQ(code, codes[i]) << i;
    EXPECT_NEAR(kNF4Values[static_cast<std::size_t>(code)] * 0.5f, back[i], 1e-8f) << i;
  }
}

TEST(Nf4, QuantizesScalesAboutTheirMean) {
  std::vector<float> values(4 * 64, 0.0f);
  const std::vector<float> largest = {.5f, .25f, .125f, .4f},
                           back = {.500239258f, .248969727f, .126362305f, .399428711f};
  for (std::size_t i = 0; i < largest.size(); ++i) values[64 * i] = largest[i];
  const Weight weight(2, 128, values);
  EXPECT_NEAR(weight.nf4.mean(), .31875f, 1e-7f);
  const std::vector<int> codes = {250, 45, 0, 213};
  for (std::size_t i = 0; i < codes.size(); ++i) {
    EXPECT_EQ(weight.nf4.scale_code(static_cast<Index>(i)), codes[i]) << i;
    EXPECT_NEAR(weight.nf4.scale(static_cast<Index>(i)), back[i], 1e-7f) << i;
  }
}

TEST(Nf4, TakesTheLowerOfTwoEquallyNearNumbers) {
  EXPECT_EQ(nf4_code((kNF4Values[7] + kNF4Values[8]) / 2), 7);
  EXPECT_EQ(nf4_code(std::nextafter((kNF4Values[7] + kNF4Values[8]) / 2, 1.0f)), 8);
  EXPECT_EQ(nf4_code(-1), 0);
  EXPECT_EQ(nf4_code(1), 15);
  EXPECT_EQ(nf4_code(0), 7);
}

TEST(Nf4, TakesLittleMoreThanFourBits) {
  EXPECT_NEAR(static_cast<double>(Nf4Weight::bytes(4096, 4096).count) * 8 / (4096.0 * 4096), 4.126953125, 1e-4);
}

TEST(Nf4, DecodesAnyPartOfARow) {
  constexpr Index kRows = 3, kCols = 1088;  // seventeen blocks
  const std::vector<float> values = normals(kRows * kCols, 1);
  const Weight weight(kRows, kCols, values);
  const StoredRows rows = weight.nf4.rows();
  std::vector<float> part(600);
  for (const auto& [first, count] : {std::pair<Index, Index>{0, 512}, {512, 512}, {1024, 64}, {512, 31}}) {
    decode_columns(file_row_kernels_for(chosen_cpu_path()), rows, 2, first, count, part.data());
    for (Index c = 0; c < count; ++c) {
      const Index block = 2 * (kCols / 64) + (first + c) / 64;
      const float expected =
          kNF4Values[static_cast<std::size_t>(weight.nf4.code(2, first + c))] * weight.nf4.scale(block);
      ASSERT_EQ(part[static_cast<std::size_t>(c)], expected) << first + c;
      // Half the widest gap between neighbours, and the error of the scale.
      ASSERT_NEAR(expected, values[static_cast<std::size_t>(2 * kCols + first + c)], 0.17f * weight.nf4.scale(block));
    }
  }
}

TEST(Nf4, KeepsBlocksOfZeros) {
  const Weight weight(1, 128, std::vector<float>(128, 0.0f));
  std::vector<float> back(128, 1.0f);
  weight.nf4.decode(0, 0, 128, back.data());
  EXPECT_THAT(back, testing::Each(0.0f));
}

}  // namespace
}  // namespace jericho
