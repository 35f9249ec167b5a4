// compressed-tensors checkpoints, packed apart from the reader (test_checkpoints.h), to the bit; the worked example of
// the format; what is refused.
#include <fmt/format.h>

#include "formats/quantized/open_weight.h"

namespace jericho {
namespace {

using namespace jericho::quantized;
using testing::HasSubstr;

std::string ct_config(const std::string& format, const std::string& weights, const std::string& more = "") {
  return config(fmt::format(R"("quant_method": "compressed-tensors", "format": "{}", "ignore": ["lm_head"],
                            "config_groups": {{"group_0": {{"targets": ["Linear"], "weights": {{{}}}}}{}}})",
                            format, weights, more));
}

TEST(CompressedTensors, PackedIntegersComeBackToTheBit) {
  struct Case {
    int bits;
    Index group;
    Zeros zeros;
    DType scale, expected;
  };
  const Case cases[] = {{4, 64, Zeros::kMiddle, DType::kF16, DType::kQ4_0},
                        {4, 64, Zeros::kMiddle, DType::kBF16, DType::kQZ4B},
                        {4, 32, Zeros::kAny, DType::kBF16, DType::kQZ4B},
                        {4, 32, Zeros::kAny, DType::kF16, DType::kQZ4},
                        {4, 128, Zeros::kMiddle, DType::kF16, DType::kQZ4_128},
                        {4, 128, Zeros::kAny, DType::kBF16, DType::kQZ4B_128},
                        {4, 128, Zeros::kAny, DType::kF32, DType::kQZ8},
                        {4, 64, Zeros::kMiddle, DType::kF32, DType::kQZ8},
                        {4, 256, Zeros::kAny, DType::kF32, DType::kQZ8},
                        {3, 32, Zeros::kAny, DType::kF16, DType::kQZ4},  // ten codes to a word
                        {2, 64, Zeros::kMiddle, DType::kF16, DType::kQ4_0},
                        {8, 256, Zeros::kMiddle, DType::kF16, DType::kQ8_0},
                        {8, 64, Zeros::kAny, DType::kBF16, DType::kQZ8},
                        {6, 64, Zeros::kAny, DType::kF16, DType::kQZ8}};
  for (const Case& c : cases) {
    const Grid grid = random_grid(20, 256, c.group, c.bits, c.scale, c.zeros, 9);
    Checkpoint checkpoint;
    put_packed(checkpoint, "m", grid, c.zeros);
    checkpoint.config = ct_config("pack-quantized", fmt::format(R"("num_bits": {}, "type": "int")", c.bits));
    const Opened opened = open_weight(checkpoint, "m.weight");
    EXPECT_EQ(opened.dtype, c.expected) << c.bits;
    EXPECT_EQ(opened.values, grid.values()) << c.bits << " bits, groups of " << c.group;
  }
}

TEST(CompressedTensors, ColumnsInTheOrderOfActivationsComeBackToTheBit) {
  for (const int bits : {3, 4, 8}) {
    Grid grid = random_grid(20, 256, 64, bits, DType::kBF16, Zeros::kAny, 17);
    shuffle_groups(grid, 18);
    Checkpoint checkpoint;
    put_packed(checkpoint, "m", grid, Zeros::kAny);
    checkpoint.config = ct_config("pack-quantized", fmt::format(R"("num_bits": {}, "actorder": "group")", bits));
    const Opened opened = open_weight(checkpoint, "m.weight");
    EXPECT_TRUE(opened.ordered);
    EXPECT_EQ(opened.values, grid.values()) << bits << " bits";
  }
}

TEST(CompressedTensors, CodesLieInTheirWordsAsTheFormatDescribes) {
  Checkpoint checkpoint;
  checkpoint.put("m.weight_packed", DType::kI32, {1, 4}, std::vector<std::uint32_t>(4, 0xFEA98710));
  checkpoint.put("m.weight_shape", DType::kI64, {2}, std::vector<std::int64_t>{1, 32});
  checkpoint.put_scales("m.weight_scale", DType::kF16, {1, 1}, {1.0f});
  checkpoint.config = ct_config("pack-quantized", R"("num_bits": 4, "type": "int", "strategy": "channel")");
  constexpr float kExpected[] = {-8, -7, -1, 0, 1, 2, 6, 7};
  const Opened opened = open_weight(checkpoint, "m.weight");
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(opened.values[i], kExpected[i % 8]) << i;
  EXPECT_EQ(opened.method, "compressed-tensors 4 bit, per channel");
}

TEST(CompressedTensors, BytesComeBackToTheBit) {
  for (const Zeros zeros : {Zeros::kMiddle, Zeros::kAny}) {
    for (const DType scale : {DType::kF16, DType::kBF16, DType::kF32}) {
      for (const Index group : {64, 256}) {
        Grid grid = random_grid(20, 256, group, 8, scale, zeros, 10);
        grid.codes[0] = 0;  // -128
        grid.codes[1] = 255;
        Checkpoint checkpoint;
        put_bytes(checkpoint, "m", grid, zeros);
        checkpoint.config = ct_config("int-quantized", R"("num_bits": 8, "type": "int", "strategy": "channel")");
        const Opened opened = open_weight(checkpoint, "m.weight");
        EXPECT_EQ(opened.dtype, zeros == Zeros::kMiddle && scale == DType::kF16 ? DType::kQ8_0 : DType::kQZ8);
        EXPECT_EQ(opened.values, grid.values());
      }
    }
  }
}

TEST(CompressedTensors, BytesWithAScalePerRowBelongToActivationsWithAScalePerToken) {
  const std::string activations = R"(, "group_1": {"input_activations": {"num_bits": 8, "type": "int"}})";
  const auto opened_type = [&](const Grid& grid, Zeros zeros, const std::string& more) {
    Checkpoint checkpoint;
    put_bytes(checkpoint, "m", grid, zeros);
    checkpoint.config = ct_config("int-quantized", R"("num_bits": 8, "type": "int")", more);
    const Opened opened = open_weight(checkpoint, "m.weight");
    EXPECT_EQ(opened.values, grid.values());
    return opened.dtype;
  };
  for (const DType scale : {DType::kF16, DType::kBF16, DType::kF32}) {
    Grid grid = random_grid(20, 256, 256, 8, scale, Zeros::kMiddle, 16);
    grid.codes[0] = 0;  // -128
    EXPECT_EQ(opened_type(grid, Zeros::kMiddle, activations), DType::kQC8);
  }
  const auto grid = [](Index cols, Index group, Zeros zeros) {
    return random_grid(20, cols, group, 8, DType::kF32, zeros, 16);
  };
  EXPECT_EQ(opened_type(grid(256, 256, Zeros::kMiddle), Zeros::kMiddle, ""), DType::kQZ8) << "weights alone";
  EXPECT_EQ(opened_type(grid(256, 64, Zeros::kMiddle), Zeros::kMiddle, activations), DType::kQZ8) << "groups";
  EXPECT_EQ(opened_type(grid(256, 256, Zeros::kAny), Zeros::kAny, activations), DType::kQZ8) << "zero points";
  EXPECT_EQ(opened_type(grid(96, 96, Zeros::kMiddle), Zeros::kMiddle, activations), DType::kQZ8) << "short blocks";
}

TEST(CompressedTensors, OneScaleMayServeAWholeTensor) {
  Grid grid = random_grid(20, 64, 64, 8, DType::kF32, Zeros::kMiddle, 11);
  grid.scales.assign(20, 0.37f);
  for (const std::vector<Index>& shape : {std::vector<Index>{1}, std::vector<Index>{}}) {
    Checkpoint checkpoint;
    put_bytes(checkpoint, "m", grid, Zeros::kMiddle);
    checkpoint.put_f32("m.weight_scale", shape, {0.37f});
    checkpoint.config = ct_config("int-quantized", R"("num_bits": 8)");
    EXPECT_EQ(open_weight(checkpoint, "m.weight").values, grid.values());
  }
}

TEST(CompressedTensors, FloatsHaveAScalePerTensorRowOrBlock) {
  struct Case {
    Index block_rows, block_cols;
    std::vector<Index> shape;
    const char* weights;
  };
  const Case cases[] = {{192, 256, {1}, R"("num_bits": 8, "type": "float", "strategy": "tensor")"},
                        {1, 256, {192, 1}, R"("num_bits": 8, "type": "float", "strategy": "channel")"},
                        {128, 128, {2, 2}, R"("num_bits": 8, "type": "float", "strategy": "block",
                                              "block_structure": [128, 128])"}};
  for (const Case& c : cases) {
    const Float8Grid grid = random_float8(192, 256, c.block_rows, c.block_cols, 12);
    Checkpoint checkpoint;
    put_float8(checkpoint, "m", grid, ".weight_scale", c.shape);
    checkpoint.config = ct_config("float-quantized", c.weights);
    const Opened opened = open_weight(checkpoint, "m.weight");
    EXPECT_EQ(opened.dtype, DType::kFP8);
    EXPECT_EQ(opened.values, grid.values()) << c.weights;
  }
}

TEST(CompressedTensors, SeveralGroupsMayStandSideBySideAndOthersStayFloat) {
  const Grid four = random_grid(20, 64, 32, 4, DType::kF16, Zeros::kMiddle, 13);
  const Grid eight = random_grid(20, 64, 64, 8, DType::kF16, Zeros::kMiddle, 14);
  Checkpoint checkpoint;
  put_packed(checkpoint, "a", four, Zeros::kMiddle);
  put_packed(checkpoint, "b", eight, Zeros::kMiddle);
  checkpoint.put_f32("lm_head.weight", {2, 2}, {1, 2, 3, 4});
  checkpoint.config = ct_config("pack-quantized", R"("num_bits": 4, "type": "int")",
                                R"(, "group_1": {"targets": ["re:.*b$"], "weights": {"num_bits": 8}})");
  EXPECT_EQ(open_weight(checkpoint, "a.weight").values, four.values());
  EXPECT_EQ(open_weight(checkpoint, "b.weight").values, eight.values());
  const TestDirectory directory;
  checkpoint.save(directory.path());
  const auto file = open_model(directory.path());
  EXPECT_EQ(file->tensors().size(), 3u);  // weight_shape is gone with the rest
  EXPECT_EQ(file->find("lm_head.weight")->dtype, DType::kF32);
  EXPECT_EQ(file->find("lm_head.weight")->repacking, nullptr);
}

TEST(CompressedTensors, RefusesWhatItDoesNotRead) {
  Checkpoint checkpoint;
  put_packed(checkpoint, "m", random_grid(20, 64, 32, 4, DType::kF16, Zeros::kAny, 15), Zeros::kAny);
  checkpoint.config = ct_config("nvfp4-pack-quantized", R"("num_bits": 4, "type": "float")");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("'format' is \"nvfp4-pack-quantized\", which is not supported yet"));
  checkpoint.config = ct_config("pack-quantized", R"("num_bits": 4, "type": "float")");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("'num_bits' is 4, which is not supported yet"));
  checkpoint.config = ct_config("pack-quantized", R"("num_bits": 8)");
  EXPECT_THAT(
      refusal(checkpoint),
      HasSubstr("tensor 'm.weight_packed' has shape [20, 8], which for a weight of [20, 64] is none of the code "
                "widths of config_groups (8 bits)"));
  checkpoint.config = ct_config("pack-quantized", R"("num_bits": 4)");
  checkpoint.put("m.weight_zero_point", DType::kI32, {20, 2}, std::vector<std::int32_t>(40));
  EXPECT_THAT(refusal(checkpoint), HasSubstr("tensor 'm.weight_zero_point' has shape [20, 2], expected [3, 2]"));
  checkpoint.tensors.erase("m.weight_zero_point");
  checkpoint.tensors.erase("m.weight_scale");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("tensor 'm.weight_scale' is missing"));
}

}  // namespace
}  // namespace jericho
