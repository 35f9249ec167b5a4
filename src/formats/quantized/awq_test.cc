// AWQ checkpoints, packed apart from the reader (test_checkpoints.h), to the bit; the order of a word; what is refused.
#include <fmt/format.h>

#include "formats/quantized/open_weight.h"

namespace jericho {
namespace {

using namespace jericho::quantized;
using testing::HasSubstr;

std::string awq_config(Index group, const std::string& more = R"(, "version": "GEMM")") {
  return config(
      fmt::format(R"("quant_method": "awq", "bits": 4, "zero_point": true, "group_size": {}{})", group, more));
}

TEST(Awq, ComesBackToTheBit) {
  for (const DType scale : {DType::kF16, DType::kBF16}) {
    for (const Index group : {32, 128, 256}) {
      const Grid grid = random_grid(48, 256, group, 4, scale, Zeros::kAny, 7);
      Checkpoint checkpoint;
      put_awq(checkpoint, "m", grid);
      checkpoint.config = awq_config(group == 256 ? -1 : group);
      const Opened opened = open_weight(checkpoint, "m.weight");
      const bool half = scale == DType::kF16;
      EXPECT_EQ(opened.dtype,
                group == 128 ? (half ? DType::kQZ4_128 : DType::kQZ4B_128) : (half ? DType::kQZ4 : DType::kQZ4B));
      EXPECT_EQ(opened.values, grid.values()) << group;
    }
  }
}

TEST(Awq, CodesOfAWordAreOfOutputsInItsOwnOrder) {
  Checkpoint checkpoint;  // columns 0 to 7 have codes 1 to 8
  checkpoint.put("m.qweight", DType::kI32, {32, 1}, std::vector<std::uint32_t>(32, 0x86427531));
  checkpoint.put("m.qzeros", DType::kI32, {1, 1}, std::vector<std::uint32_t>{0x86427531});
  checkpoint.put_scales("m.scales", DType::kF16, {1, 8}, {1, 1, 1, 1, 0.5f, 1, 1, 1});
  checkpoint.config = awq_config(32);
  EXPECT_THAT(open_weight(checkpoint, "m.weight").values, testing::Each(0.0f));
  checkpoint.put("m.qzeros", DType::kI32, {1, 1}, std::vector<std::uint32_t>{0});
  const Opened opened = open_weight(checkpoint, "m.weight");
  for (std::size_t o = 0; o < 8; ++o) {
    EXPECT_EQ(opened.values[32 * o + 31], (o == 4 ? 0.5f : 1.0f) * static_cast<float>(o + 1)) << o;
  }
}

TEST(Awq, RefusesOtherVersionsWidthsAndShapes) {
  Checkpoint checkpoint;
  put_awq(checkpoint, "m", random_grid(16, 64, 32, 4, DType::kF16, Zeros::kAny, 8));
  checkpoint.config = awq_config(32, R"(, "version": "gemv")");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("'version' is \"gemv\", which is not supported yet; supported: gemm"));
  checkpoint.config = config(R"("quant_method": "awq", "w_bit": 3)");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("'w_bit' is 3, which is not supported yet; supported: 4"));
  checkpoint.config = awq_config(64);
  EXPECT_THAT(refusal(checkpoint), HasSubstr("tensor 'm.scales' has shape [2, 16], expected [1, 16]"));
  checkpoint.config = awq_config(32);
  checkpoint.tensors.erase("m.qzeros");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("tensor 'm.qzeros' is missing"));
}

}  // namespace
}  // namespace jericho
