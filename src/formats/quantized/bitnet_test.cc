// BitNet checkpoints in both modes, packed apart from the reader (test_checkpoints.h); what is refused.
#include <fmt/format.h>

#include "formats/quantized/open_weight.h"

namespace jericho {
namespace {

using namespace jericho::quantized;
using testing::HasSubstr;

TEST(Bitnet, OfflineWeightsAreTernaryTimesOrOverTheirScale) {
  std::mt19937 random(22);
  std::vector<int> ternary;
  for (int i = 0; i < 64 * 256; ++i) ternary.push_back(static_cast<int>(random() % 3) - 1);
  const float scale = to_float(to_bf16(1.73f));
  for (const bool automatic : {false, true}) {
    Checkpoint checkpoint;
    put_bitnet(checkpoint, "m", 64, 256, ternary, DType::kBF16, scale);
    checkpoint.config = config(fmt::format(R"("quant_method": "bitnet", "linear_class": "{}",
                                            "quantization_mode": "offline")",
                                           automatic ? "autobitlinear" : "bitlinear"));
    const Opened opened = open_weight(checkpoint, "m.weight");
    EXPECT_EQ(opened.dtype, DType::kTQ2F);
    EXPECT_EQ(opened.shape, (std::vector<Index>{64, 256}));
    std::vector<float> expected;
    for (const int value : ternary) expected.push_back(static_cast<float>(value) * (automatic ? scale : 1.0f / scale));
    EXPECT_EQ(opened.values, expected);
    EXPECT_EQ(opened.method, automatic ? "BitNet, times weight_scale" : "BitNet, over weight_scale");
  }
}

TEST(Bitnet, OnlineWeightsAreRoundedByTheMeanOfTheWholeTensor) {
  Checkpoint checkpoint;
  std::vector<float> row = {.8f, -.4f, .1f, -1.2f, .3f, .05f, -.6f, .55f};  // mean |w| = 0.5
  std::vector<float> master;
  for (int i = 0; i < 16; ++i) master.insert(master.end(), row.begin(), row.end());
  checkpoint.put_f32("model.layers.0.mlp.up_proj.weight", {1, 128}, master);
  checkpoint.put_f32("lm_head.weight", {1, 128}, master);
  checkpoint.put_f32("model.norm.weight", {128}, master);
  checkpoint.config =
      config(R"("quant_method": "bitnet", "quantization_mode": "online", "modules_to_not_convert": null)");
  const Opened opened = open_weight(checkpoint, "model.layers.0.mlp.up_proj.weight");
  constexpr float kExpected[] = {1, -1, 0, -1, 1, 0, -1, 1};
  for (std::size_t i = 0; i < 128; ++i) EXPECT_FLOAT_EQ(opened.values[i], 0.5f * kExpected[i % 8]) << i;
  const TestDirectory directory;
  checkpoint.save(directory.path());
  EXPECT_EQ(open_model(directory.path())->find("lm_head.weight")->dtype, DType::kF32);
}

TEST(Bitnet, RefusesWhatCannotBeRight) {
  Checkpoint checkpoint;
  put_bitnet(checkpoint, "m", 4, 128, std::vector<int>(512), DType::kF32, 0.0f);
  checkpoint.config = config(R"("quant_method": "bitnet")");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("with its scale of 0 every weight would be inf or 0"));
  checkpoint.put("m.weight", DType::kU8, {1, 128}, std::vector<std::uint8_t>(128, 0xc0));
  checkpoint.put_f32("m.weight_scale", {1}, {1.0f});
  EXPECT_THAT(refusal(checkpoint), HasSubstr("byte 0 is 192, which holds a code of 3"));
  checkpoint.put("m.weight", DType::kU8, {1, 64}, std::vector<std::uint8_t>(64));
  EXPECT_THAT(refusal(checkpoint), HasSubstr("ternary rows of 64 are not supported yet, expected a multiple of 128"));
  checkpoint.config = config(R"("quant_method": "bitnet", "linear_class": "other")");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("'linear_class' is \"other\", which is not supported yet"));
}

}  // namespace
}  // namespace jericho
