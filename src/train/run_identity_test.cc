// Which runs go on from whose checkpoints.
#include "train/run_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace jericho {
namespace {

using testing::HasSubstr;

std::string refusal(const nlohmann::json& then, const nlohmann::json& now) {
  try {
    require_same_run("runs/story", then, now);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(RunIdentity, IsThatOfTheSameOptions) {
  const TrainOptions options;
  EXPECT_EQ(refusal(run_identity(options, DenseOrder::kTiles), run_identity(options, DenseOrder::kTiles)), "");
}

TEST(RunIdentity, NamesTheOptionThatIsAnother) {
  TrainOptions then, now;
  now.seed = 2;
  EXPECT_THAT(
      refusal(run_identity(then, DenseOrder::kPairs), run_identity(now, DenseOrder::kPairs)),
      HasSubstr("runs/story: its checkpoints were trained with another 'seed' (1, now 2); give another output"));
}

TEST(RunIdentity, NamesWhatOnlyOneOfTheRunsHas) {
  const nlohmann::json full = run_identity({}, DenseOrder::kPairs);
  nlohmann::json adapters = full;
  adapters["adapter"] = {{"rank", 8}};
  EXPECT_THAT(refusal(full, adapters), HasSubstr("another 'adapter' (null, now {\"rank\":8})"));
  EXPECT_THAT(refusal(adapters, full), HasSubstr("another 'adapter' ({\"rank\":8}, now null)"));
}

TEST(RunIdentity, RefusesProductsThatAddUpInAnotherOrder) {
  const TrainOptions options;
  const nlohmann::json pairs = run_identity(options, DenseOrder::kPairs);
  const nlohmann::json tiles = run_identity(options, DenseOrder::kTiles);
  EXPECT_THAT(refusal(pairs, tiles),
              HasSubstr("another 'bf16_products' (\"pairs\", now \"tiles\"); JERICHO_CPU=avx512 goes on with it"));
  EXPECT_THAT(refusal(tiles, pairs), HasSubstr("(\"tiles\", now \"pairs\"); go on with it on a processor with AMX"));
}

TEST(RunIdentity, OfFp32ProductsIsTheSameOnEveryPath) {
  TrainOptions options;
  options.compute = DType::kF32;
  EXPECT_EQ(run_identity(options, DenseOrder::kTiles), run_identity(options, DenseOrder::kPairs));
}

TEST(RunIdentity, ACheckpointThatSaysNothingOfItsProductsHasPairs) {
  const TrainOptions options;
  nlohmann::json older = run_identity(options, DenseOrder::kPairs);
  older.erase("bf16_products");
  EXPECT_EQ(refusal(older, run_identity(options, DenseOrder::kPairs)), "");
  EXPECT_THAT(refusal(older, run_identity(options, DenseOrder::kTiles)), HasSubstr("bf16_products"));
}

}  // namespace
}  // namespace jericho
