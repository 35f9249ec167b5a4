// FP8 checkpoints, packed apart from the reader (test_checkpoints.h), to the bit; what is refused.
#include "formats/quantized/open_weight.h"

namespace jericho {
namespace {

using namespace jericho::quantized;
using testing::HasSubstr;

TEST(Float8, BlocksRowsAndTensorsComeBackToTheBit) {
  const Float8Grid blocks = random_float8(200, 320, 128, 128, 16);
  Checkpoint checkpoint;
  put_float8(checkpoint, "m", blocks, ".weight_scale_inv", {2, 3});
  checkpoint.config = config(R"("quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128])");
  const Opened opened = open_weight(checkpoint, "m.weight");
  EXPECT_EQ(opened.values, blocks.values());
  EXPECT_EQ(opened.method, "FP8 E4M3, blocks of 128 x 128");

  const Float8Grid rows = random_float8(10, 64, 1, 64, 17);
  Checkpoint per_row;
  put_float8(per_row, "m", rows, ".weight_scale", {10, 1});
  per_row.config = config(R"("quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"])");
  EXPECT_EQ(open_weight(per_row, "m.weight").values, rows.values());

  const Float8Grid whole = random_float8(10, 64, 10, 64, 18);
  Checkpoint per_tensor;
  put_float8(per_tensor, "m", whole, ".weight_scale_inv", {});
  per_tensor.config = config(R"("quant_method": "fp8")");
  EXPECT_EQ(open_weight(per_tensor, "m.weight").values, whole.values());
}

TEST(Float8, RefusesOtherFormatsShapesAndWidths) {
  Checkpoint checkpoint;
  put_float8(checkpoint, "m", random_float8(128, 128, 128, 128, 19), ".weight_scale_inv", {1, 1});
  checkpoint.config = config(R"("quant_method": "fp8", "fmt": "e5m2")");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("'fmt' is \"e5m2\", which is not supported yet"));
  checkpoint.config = config(R"("quant_method": "fp8", "weight_block_size": [64, 64])");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("tensor 'm.weight_scale_inv' has shape [1, 1], expected [2, 2]"));
  checkpoint.config = config(R"("quant_method": "fp8", "weight_block_size": [128, 32])");
  checkpoint.put_f32("m.weight_scale_inv", {1, 4}, {1, 1, 1, 1});
  EXPECT_THAT(refusal(checkpoint), HasSubstr("scales every 32 columns are not supported yet"));
  checkpoint.config = config(R"("quant_method": "fp8", "weight_block_size": [128])");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("blocks of scales are [128], expected rows and columns"));
  checkpoint.tensors.erase("m.weight_scale_inv");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("tensor 'm.weight_scale' is missing"));
}

}  // namespace
}  // namespace jericho
