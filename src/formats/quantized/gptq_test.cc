// GPTQ checkpoints, packed apart from the reader (test_checkpoints.h), to the bit; the worked examples of the
// format; what is refused.
#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "formats/quantized/open_weight.h"

namespace jericho {
namespace {

using namespace jericho::quantized;
using testing::AllOf;
using testing::HasSubstr;

std::string gptq_config(int bits, Index group, bool sym, const std::string& more = "") {
  return config(fmt::format(R"("quant_method": "gptq", "bits": {}, "group_size": {}, "sym": {}, "desc_act": false{})",
                            bits, group, sym, more));
}

TEST(Gptq, EveryWidthGroupAndZeroComesBackToTheBit) {
  struct Case {
    int bits;
    Index group;
    Zeros zeros;
    DType scale, expected;
  };
  const Case cases[] = {
      {4, 64, Zeros::kMiddle, DType::kF16, DType::kQ4_0},    {4, 32, Zeros::kAny, DType::kF16, DType::kQZ4},
      {4, -1, Zeros::kMiddle, DType::kF16, DType::kQ4_0},    {4, 64, Zeros::kMiddle, DType::kBF16, DType::kQZ4B},
      {4, 64, Zeros::kAny, DType::kBF16, DType::kQZ4B},      {3, 64, Zeros::kMiddle, DType::kF16, DType::kQ4_0},
      {3, 32, Zeros::kAny, DType::kF16, DType::kQZ4},        {2, 128, Zeros::kMiddle, DType::kF16, DType::kQZ4_128},
      {2, 64, Zeros::kAny, DType::kF16, DType::kQZ4},        {8, 64, Zeros::kMiddle, DType::kF16, DType::kQ8_0},
      {4, 128, Zeros::kAny, DType::kF16, DType::kQZ4_128},   {4, 128, Zeros::kMiddle, DType::kBF16, DType::kQZ4B_128},
      {3, 128, Zeros::kAny, DType::kBF16, DType::kQZ4B_128}, {8, 128, Zeros::kMiddle, DType::kF16, DType::kQ8_0},
      {8, 32, Zeros::kAny, DType::kF16, DType::kQZ8},        {8, -1, Zeros::kAny, DType::kBF16, DType::kQZ8},
  };
  for (const Case& c : cases) {
    for (const GptqZeros stored : {GptqZeros::kMinusOne, GptqZeros::kTrue}) {
      const Grid grid = random_grid(96, 256, c.group == -1 ? 256 : c.group, c.bits, c.scale, c.zeros, 1);
      Checkpoint checkpoint;
      put_gptq(checkpoint, "m", grid, stored);
      const std::string format = stored == GptqZeros::kTrue ? R"(, "checkpoint_format": "gptq_v2")" : "";
      checkpoint.config = gptq_config(c.bits, c.group, c.zeros == Zeros::kMiddle, format);
      const Opened opened = open_weight(checkpoint, "m.weight");
      EXPECT_EQ(opened.dtype, c.expected) << c.bits;
      EXPECT_EQ(opened.shape, (std::vector<Index>{96, 256}));
      EXPECT_EQ(opened.values, grid.values()) << c.bits << " bits, groups of " << c.group;
    }
  }
}

// 32 inputs and 32 outputs with the same words for every output; scale 1, zero 0.
Checkpoint gptq_words(int bits, const std::vector<std::uint32_t>& words) {
  Checkpoint checkpoint;
  std::vector<std::uint32_t> qweight;
  for (const std::uint32_t word : words) qweight.insert(qweight.end(), 32, word);
  checkpoint.put("m.qweight", DType::kI32, {bits, 32}, qweight);
  checkpoint.put("m.qzeros", DType::kI32, {1, bits}, std::vector<std::uint32_t>(static_cast<std::size_t>(bits)));
  checkpoint.put_scales("m.scales", DType::kF16, {1, 32}, std::vector<float>(32, 1.0f));
  checkpoint.config = gptq_config(bits, 32, false, R"(, "checkpoint_format": "gptq_v2")");
  return checkpoint;
}

TEST(Gptq, CodesLieInTheirWordsAsTheFormatDescribes) {
  const Opened four = open_weight(gptq_words(4, {0x87654321, 0, 0, 0x87654321}), "m.weight");
  const Opened three = open_weight(gptq_words(3, {0x88FAC688, 0xC688FAC6, 0xFAC688FA}), "m.weight");
  for (std::size_t i = 0; i < 32; ++i) {
    const float in_words = i < 8 || i >= 24 ? static_cast<float>(i % 8 + 1) : 0.0f;
    EXPECT_EQ(four.values[32 * 5 + i], in_words) << i;
    EXPECT_EQ(three.values[32 * 7 + i], static_cast<float>(i % 8)) << i;
  }
}

TEST(Gptq, SymmetricZerosTellWhichVersionAFileIs) {
  const Grid grid = random_grid(32, 64, 32, 4, DType::kF16, Zeros::kMiddle, 2);
  for (const GptqZeros stored : {GptqZeros::kMinusOne, GptqZeros::kTrue}) {
    Checkpoint mislabelled;
    put_gptq(mislabelled, "m", grid, stored);
    const std::string other = stored == GptqZeros::kTrue ? "gptq" : "gptq_v2";
    mislabelled.config = gptq_config(4, 32, true, R"(, "checkpoint_format": ")" + other + R"(")");
    EXPECT_EQ(open_weight(mislabelled, "m.weight").values, grid.values());
  }
}

TEST(Gptq, AStoredZeroOfAllOnesIsZero) {  // of the first version: readers mask (stored + 1)
  Grid grid = random_grid(32, 32, 32, 4, DType::kF16, Zeros::kAny, 3);
  grid.zeros.assign(32, 0);
  Checkpoint checkpoint;
  put_gptq(checkpoint, "m", grid, GptqZeros::kMinusOne);
  checkpoint.config = gptq_config(4, 32, false);
  EXPECT_EQ(open_weight(checkpoint, "m.weight").values, grid.values());
}

TEST(Gptq, ColumnsInTheOrderOfActivationsComeBackToTheBit) {
  for (const int bits : {2, 3, 4, 8}) {
    for (const Index group : {32, 96}) {  // of 256 inputs: the last of 96 has 64
      Grid grid = random_grid(64, 256, group, bits, DType::kF16, Zeros::kAny, 11);
      shuffle_groups(grid, 12);
      Checkpoint checkpoint;
      put_gptq(checkpoint, "m", grid, GptqZeros::kMinusOne);
      checkpoint.config = config(fmt::format(
          R"("quant_method": "gptq", "bits": {}, "group_size": {}, "sym": false, "desc_act": true)", bits, group));
      const Opened opened = open_weight(checkpoint, "m.weight");
      EXPECT_TRUE(opened.ordered);
      EXPECT_EQ(opened.values, grid.values()) << bits << " bits, groups of " << group;
      EXPECT_EQ(opened.method, fmt::format("GPTQ {} bit, groups of {} by activation", bits, group));
    }
  }
}

TEST(Gptq, AnIndexThatWasNeverFilledInMeansConsecutiveGroups) {
  const Grid grid = random_grid(32, 128, 32, 4, DType::kF16, Zeros::kAny, 13);
  for (const char* desc_act : {"false", "true"}) {
    Checkpoint checkpoint;
    put_gptq(checkpoint, "m", grid, GptqZeros::kMinusOne);
    checkpoint.put("m.g_idx", DType::kI32, {128}, std::vector<std::int32_t>(128));
    checkpoint.config = config(
        fmt::format(R"("quant_method": "gptq", "bits": 4, "group_size": 32, "sym": false, "desc_act": {})", desc_act));
    EXPECT_EQ(open_weight(checkpoint, "m.weight").values, grid.values());
  }
}

TEST(Gptq, OneGroupForAllInputsHasNoOrder) {
  const Grid grid = random_grid(32, 128, 128, 4, DType::kF16, Zeros::kAny, 14);
  Checkpoint checkpoint;
  put_gptq(checkpoint, "m", grid, GptqZeros::kMinusOne);
  checkpoint.config = config(R"("quant_method": "gptq", "bits": 4, "group_size": -1, "sym": false, "desc_act": true)");
  const Opened opened = open_weight(checkpoint, "m.weight");
  EXPECT_FALSE(opened.ordered);
  EXPECT_EQ(opened.values, grid.values());
}

TEST(Gptq, ARulePerModuleMayOrderItsColumns) {
  Grid grid = random_grid(32, 128, 32, 4, DType::kF16, Zeros::kAny, 15);
  shuffle_groups(grid, 16);
  Checkpoint checkpoint;
  put_gptq(checkpoint, "m", grid, GptqZeros::kMinusOne);
  checkpoint.config = gptq_config(4, 32, true, R"(, "dynamic": {"+:m": {"desc_act": true}, "-:n": {}})");
  EXPECT_EQ(open_weight(checkpoint, "m.weight").values, grid.values());
}

TEST(Gptq, RulesPerModuleFollowFromTheShapes) {
  const Grid grid = random_grid(32, 128, 64, 8, DType::kF16, Zeros::kAny, 4);
  Checkpoint checkpoint;
  put_gptq(checkpoint, "m", grid, GptqZeros::kMinusOne);
  checkpoint.config = gptq_config(4, 32, true, R"(, "dynamic": {"+:m": {"bits": 8, "group_size": 64, "sym": false}})");
  const Opened opened = open_weight(checkpoint, "m.weight");
  EXPECT_EQ(opened.values, grid.values());
  EXPECT_EQ(opened.method, "GPTQ 8 bit, groups of 64");
}

class GptqRefuses : public testing::Test {
 protected:
  GptqRefuses() {
    put_gptq(checkpoint_, "m", grid_, GptqZeros::kMinusOne);
    checkpoint_.config = gptq_config(4, 32, true);
  }
  Grid grid_ = random_grid(32, 64, 32, 4, DType::kF16, Zeros::kMiddle, 5);
  Checkpoint checkpoint_;
};

TEST_F(GptqRefuses, MissingScales) {
  checkpoint_.tensors.erase("m.scales");
  EXPECT_THAT(refusal(checkpoint_), HasSubstr("tensor 'm.scales' is missing; is the model complete?"));
}
TEST_F(GptqRefuses, ScalesOfAnotherShape) {
  checkpoint_.put_scales("m.scales", DType::kF16, {1, 32}, std::vector<float>(32));
  EXPECT_THAT(refusal(checkpoint_), HasSubstr("tensor 'm.scales' has shape [1, 32], expected [2, 32]"));
}
TEST_F(GptqRefuses, ZerosOfAnotherShapeOrType) {
  checkpoint_.put("m.qzeros", DType::kI32, {2, 5}, std::vector<std::int32_t>(10));
  EXPECT_THAT(refusal(checkpoint_), HasSubstr("tensor 'm.qzeros' has shape [2, 5], expected [2, 4]"));
  checkpoint_.put("m.qzeros", DType::kI8, {2, 4}, std::vector<std::int8_t>(8));
  EXPECT_THAT(refusal(checkpoint_), HasSubstr("tensor 'm.qzeros' has type I8, expected I32"));
}
TEST_F(GptqRefuses, AGroupThatDoesNotExist) {
  std::vector<std::int32_t> index(64);
  index[9] = 2;
  checkpoint_.put("m.g_idx", DType::kI32, {64}, index);
  EXPECT_THAT(refusal(checkpoint_), HasSubstr("tensor 'm.g_idx': input 9 is of group 2, there are 2"));
  index[9] = -1;
  checkpoint_.put("m.g_idx", DType::kI32, {64}, index);
  EXPECT_THAT(refusal(checkpoint_), HasSubstr("tensor 'm.g_idx': input 9 is of group -1, there are 2"));
}
TEST_F(GptqRefuses, ColumnsInTheOrderOfActivationsThatTheConfigurationDeniesWithTheRemedy) {
  std::vector<std::int32_t> index(64);
  index[3] = 1;
  checkpoint_.put("m.g_idx", DType::kI32, {64}, index);
  EXPECT_THAT(refusal(checkpoint_), AllOf(HasSubstr("tensor 'm.g_idx': input 3 is of group 1, expected 0"),
                                          HasSubstr("set \"desc_act\" to true in config.json")));
}
TEST_F(GptqRefuses, GroupsOfUnequalSizes) {
  checkpoint_.config = config(R"("quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": true)");
  std::vector<std::int32_t> index(64);
  std::fill(index.begin() + 31, index.end(), 1);
  checkpoint_.put("m.g_idx", DType::kI32, {64}, index);
  EXPECT_THAT(refusal(checkpoint_),
              HasSubstr("tensor 'm.g_idx': more than 32 of the 64 inputs are of group 1, expected groups of 32"));
}
TEST_F(GptqRefuses, GroupsInAnyOrderThatDoNotExistOrAreTooFew) {
  checkpoint_.config = config(R"("quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": true)");
  std::vector<std::int32_t> index(64, 1);
  for (const std::int32_t group : {-1, 2, std::numeric_limits<std::int32_t>::min()}) {
    index[63] = group;
    checkpoint_.put("m.g_idx", DType::kI32, {64}, index);
    EXPECT_THAT(refusal(checkpoint_),
                HasSubstr(fmt::format("tensor 'm.g_idx': input 63 is of group {}, there are 2", group)));
  }
  checkpoint_.put("m.g_idx", DType::kI32, {63}, std::vector<std::int32_t>(63));
  EXPECT_THAT(refusal(checkpoint_), HasSubstr("tensor 'm.g_idx' has shape [63], expected [64]"));
}
TEST_F(GptqRefuses, SymmetryThatTheZerosDeny) {
  put_gptq(checkpoint_, "m", random_grid(32, 64, 32, 4, DType::kF16, Zeros::kAny, 6), GptqZeros::kMinusOne);
  EXPECT_THAT(refusal(checkpoint_), AllOf(HasSubstr("'m.qzeros'"), HasSubstr("set \"sym\" to false in config.json")));
}
TEST_F(GptqRefuses, WidthsFormatsAndGroupsItDoesNotRead) {
  checkpoint_.config = gptq_config(5, 32, true);
  EXPECT_THAT(refusal(checkpoint_), HasSubstr("'bits' is 5, which is not supported yet; supported: 2, 3, 4, 8"));
  checkpoint_.config = gptq_config(4, 32, true, R"(, "checkpoint_format": "marlin")");
  EXPECT_THAT(refusal(checkpoint_), HasSubstr("'checkpoint_format' is \"marlin\", which is not supported yet"));
  checkpoint_.config = gptq_config(4, 16, true);
  EXPECT_THAT(refusal(checkpoint_), HasSubstr("rows of 64 in groups of 16 are not supported yet"));
}
TEST_F(GptqRefuses, SettingsOfTheWrongType) {
  checkpoint_.config = config(R"("quant_method": "gptq", "bits": "four")");
  EXPECT_THAT(refusal(checkpoint_), HasSubstr("quantization_config: 'bits' is \"four\", expected an integer"));
}

}  // namespace
}  // namespace jericho
