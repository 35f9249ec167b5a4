// What all quantization methods share: how one is chosen and refused, and what a presented weight says of itself.
#include "formats/quantized/open_weight.h"

namespace jericho {
namespace {

using namespace jericho::quantized;
using testing::AllOf;
using testing::HasSubstr;

TEST(Quantized, RefusesAnUnknownMethodByName) {
  Checkpoint checkpoint;
  checkpoint.put_f32("m.weight", {1, 1}, {1});
  checkpoint.config = config(R"("quant_method": "hqq", "bits": 4)");
  EXPECT_THAT(refusal(checkpoint),
              AllOf(HasSubstr("unsupported: "), HasSubstr("'quant_method' 'hqq' is not supported yet"),
                    HasSubstr("gptq, awq, compressed-tensors, bitsandbytes, fp8")));
  checkpoint.config = R"({"quantization_config": 4})";
  EXPECT_THAT(refusal(checkpoint), HasSubstr("quantization_config is 4, expected an object"));
}

TEST(Quantized, ListsWhatIsStoredWhereItCannotRead) {
  Checkpoint checkpoint;
  checkpoint.put("m.W_q", DType::kU8, {1}, std::vector<std::uint8_t>{1});
  checkpoint.config = config(R"("quant_method": "hqq")");
  const TestDirectory directory;
  checkpoint.save(directory.path());
  const auto file = open_model(directory.path());
  EXPECT_NE(file->find("m.W_q"), nullptr);
  EXPECT_THAT(file->unsupported(), AllOf(HasSubstr(directory.path().string()), HasSubstr("'hqq'")));
}

TEST(Quantized, RefusesAWeightThatIsThereTwice) {
  Checkpoint checkpoint;
  put_gptq(checkpoint, "m", random_grid(32, 64, 32, 4, DType::kF16, Zeros::kMiddle, 23), GptqZeros::kMinusOne);
  checkpoint.put_f32("m.weight", {1, 1}, {1});
  checkpoint.config = config(R"("quant_method": "gptq", "bits": 4, "group_size": 32)");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("two tensors are called 'm.weight'"));
}

TEST(Quantized, CountsTheBytesThatAreStored) {
  Checkpoint checkpoint;
  put_awq(checkpoint, "m", random_grid(16, 64, 32, 4, DType::kF16, Zeros::kAny, 24));
  checkpoint.config = config(R"("quant_method": "awq", "bits": 4, "group_size": 32)");
  const TestDirectory directory;
  checkpoint.save(directory.path());
  const auto file = open_model(directory.path());
  const TensorInfo& weight = *file->find("m.weight");
  EXPECT_EQ(weight.size.count, 64 * 16 / 2 + 2 * 16 / 2 + 2 * 16 * 2);
  EXPECT_EQ(weight.repacking->staging_bytes().count, 512 + 64 + 64);
  EXPECT_EQ(file->tensors().size(), 1u);
}

}  // namespace
}  // namespace jericho
