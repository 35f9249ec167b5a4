// bitsandbytes checkpoints, packed apart from the reader (test_checkpoints.h), to the bit; what is refused.
#include "formats/quantized/open_weight.h"

namespace jericho {
namespace {

using namespace jericho::quantized;
using testing::HasSubstr;

const std::string kBnbConfig = config(R"("quant_method": "bitsandbytes", "load_in_4bit": true,
                                        "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": true)");

TEST(Bitsandbytes, TheSignedDynamicMapHasItsValues) {  // of the packer that these tests rest on
  const std::vector<float> map = signed_dynamic_map();
  ASSERT_EQ(map.size(), 256u);
  EXPECT_EQ(map[0], -0.99296875f);
  EXPECT_EQ(map[127], 0.0f);
  EXPECT_EQ(map[128], 5.5e-7f);
  EXPECT_EQ(map[255], 1.0f);
}

TEST(Bitsandbytes, Nf4ComesBackToTheBitAlsoWithScalesQuantizedInTurn) {
  for (const Nested nested : {Nested::kNo, Nested::kYes}) {
    for (const Index block : {64, 128}) {
      Nf4Grid grid = random_nf4(96, 256, nested, 20);
      grid.block = block;
      if (block == 128) {
        grid.absmax.resize(grid.absmax.size() / 2);
        grid.absmax_codes.resize(grid.absmax_codes.size() / 2);
        grid.nested_absmax.resize((grid.absmax_codes.size() + 255) / 256);
      }
      Checkpoint checkpoint;
      put_nf4(checkpoint, "m.weight", grid);
      checkpoint.config = kBnbConfig;
      const Opened opened = open_weight(checkpoint, "m.weight");
      EXPECT_EQ(opened.dtype, DType::kNF4);
      EXPECT_EQ(opened.values, grid.values());
    }
  }
}

TEST(Bitsandbytes, RefusesWhatItCannotKeep) {
  Checkpoint checkpoint;
  put_nf4(checkpoint, "m.weight", random_nf4(64, 64, Nested::kYes, 21));
  checkpoint.config = config(R"("quant_method": "bitsandbytes", "load_in_8bit": true)");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("'load_in_8bit' is true, which is not supported yet"));
  checkpoint.config = config(R"("quant_method": "bitsandbytes", "bnb_4bit_quant_type": "fp4")");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("'bnb_4bit_quant_type' is \"fp4\", which is not supported yet"));
  checkpoint.config = kBnbConfig;
  const std::string state = "m.weight.quant_state.bitsandbytes__nf4";
  const auto with_state = [&](const std::string& text) {
    Checkpoint changed = checkpoint;
    changed.put_text(state, text);
    return refusal(changed);
  };
  EXPECT_THAT(with_state(R"({"blocksize": 64, "shape": [128, 32]})"),
              HasSubstr("rows of 32 in blocks of 64 are not supported yet"));
  EXPECT_THAT(with_state(R"({"blocksize": 64, "shape": [64]})"), HasSubstr("'shape' is no pair of 1 to 2^31"));
  EXPECT_THAT(with_state(R"({"blocksize": 0, "shape": [64, 64]})"), HasSubstr("'blocksize' is 0, expected 1 to 2^31"));
  EXPECT_THAT(with_state(R"({"blocksize": 64, "shape": [64, 128]})"),
              HasSubstr("tensor 'm.weight' has 2048 values, expected 4096"));
  EXPECT_THAT(with_state("{"), HasSubstr("not valid JSON"));
  Checkpoint other_map = checkpoint;
  other_map.put_f32("m.weight.quant_map", {16}, std::vector<float>(16));
  EXPECT_THAT(refusal(other_map), HasSubstr("tensor 'm.weight.quant_map': entry 0 is 0, NF4 has -1"));
  checkpoint.tensors.erase("m.weight.nested_absmax");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("tensor 'm.weight.nested_absmax' is missing"));
}

}  // namespace
}  // namespace jericho
