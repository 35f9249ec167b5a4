// Updates within the backward pass end with the bits of updates after it, and say what they cannot do; weights in fewer
// bits are trained, saved and gone on from to the bit.
#include "train/fused_updates.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "models/test_models.h"
#include "train/start_model.h"
#include "train/test_runs.h"

namespace jericho {
namespace {

using testing::HasSubstr;

TrainOptions wide_options(const RunSetup& setup, const std::string& name) {  // whole groups of 128
  TrainOptions o = setup.options(name);
  o.model["hidden_size"] = 128;
  o.model["intermediate_size"] = 256;
  o.schedule.peak = 0.02;
  return o;
}

struct Case {
  const char* name;
  const char* rule;
  WeightTypes weights;
  bool tied;
  bool shared;
};

class FusedRuns : public testing::TestWithParam<Case> {
 protected:
  TrainOptions options(const std::string& name) const {
    TrainOptions o = wide_options(setup_, name);
    o.optimizer = default_options(GetParam().rule);
    o.weights = GetParam().weights;
    o.model["tie_word_embeddings"] = GetParam().tied;
    if (GetParam().shared) {
      o.model["architectures"] = {"MobileLLMForCausalLM"};
      o.model["layer_sharing"] = true;
      o.model["share_embedding"] = GetParam().tied;
    }
    o.clip = 0;
    o.steps = 5;
    o.eval_every = 0;
    o.save_every = 2;
    return o;
  }
  RunSetup setup_;
};
INSTANTIATE_TEST_SUITE_P(Runs, FusedRuns,
                         testing::Values(Case{"AdamW", "adamw", {}, false, false},
                                         Case{"TiedAdamW", "adamw", {}, true, false},
                                         Case{"SharedLayers", "adamw", {}, true, true},
                                         Case{"GaLore", "galore", {}, true, false},
                                         Case{"BrainHalves", "adamw8", {DType::kBF16, DType::kBF16}, true, false},
                                         Case{"QApolloMini", "q-apollo-mini", {DType::kQC8, DType::kQC8}, false, false},
                                         Case{"QGaLore", "q-galore", {DType::kQC8, DType::kF32}, true, false},
                                         Case{"SharedQApollo", "q-apollo", {DType::kQC8, DType::kBF16}, true, true}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(FusedRuns, EndWithTheBitsOfUpdatesAfterThePass) {
  TrainOptions after = options("after");
  after.fused = "off";
  const Outcome expected = train(after);
  EXPECT_FALSE(expected.fused);
  for (const char* recompute : {"none", "block", "sqrt"}) {
    TrainOptions within = options(std::string("within-") + recompute);
    within.fused = "on";
    within.recompute = recompute;
    const Outcome outcome = train(within, {.threads = 3});
    EXPECT_TRUE(outcome.fused);
    EXPECT_EQ(outcome.losses, expected.losses);
    EXPECT_EQ(outcome.norms, expected.norms);
    EXPECT_EQ(outcome.weights, expected.weights);
  }
}

TEST_P(FusedRuns, ClipByAPassForTheNormAsUpdatesAfterThePass) {
  TrainOptions after = options("after");
  after.clip = 0.5;
  after.fused = "off";
  const Outcome expected = train(after);
  EXPECT_GT(*std::max_element(expected.norms.begin(), expected.norms.end()), 0.5);
  TrainOptions within = options("within");
  within.clip = 0.5;
  within.clip_two_passes = true;
  within.fused = "on";
  const Outcome outcome = train(within);
  EXPECT_EQ(outcome.losses, expected.losses);
  EXPECT_EQ(outcome.weights, expected.weights);
}

TEST_P(FusedRuns, GoOnFromWhereTheyWereStopped) {
  TrainOptions o = options("whole");
  o.fused = "on";
  const Outcome whole = train(o);
  o.output = setup_.folder.path() / "stopped";
  EXPECT_FALSE(train(o, {.stop_after = 3}).done);
  EXPECT_EQ(train(o).weights, whole.weights);
}

TEST(FusedUpdates, TakeThePlaceOfTheLargestGradientsThatLiveTogether) {
  const RunSetup setup;
  TrainOptions o = wide_options(setup, "run");
  o.model["tie_word_embeddings"] = false;
  const ModelConfig config = config_from_json(o.model);
  const TrainingLayout layout(config);
  const TrainedTensor& head = layout.tensor(layout.head());
  EXPECT_EQ(GradientPlaces(config, layout).bytes(), Bytes{head.size() * 4});
  o.model["tie_word_embeddings"] = true;  // both uses live to the end, and beside them the largest of a layer
  const ModelConfig tied_config = config_from_json(o.model);
  const TrainingLayout tied(tied_config);
  EXPECT_EQ(GradientPlaces(tied_config, tied).bytes(), Bytes{2 * head.size() * 4});
}

TEST(FusedUpdates, AreTakenWhereNothingElseFits) {
  const RunSetup setup;
  TrainOptions o = wide_options(setup, "run");
  o.step_sequences = 1;
  o.clip = 0;
  const ModelConfig config = config_from_json(o.model);
  const TrainingLayout layout(config);
  EXPECT_FALSE(plan_training(config, layout, o, 2, 1_GiB).fused);
  o.fused = "off";
  const TrainingPlan least = plan_training(config, layout, o, 2, 0_B);
  EXPECT_FALSE(least.fused);
  o.fused = "auto";
  const TrainingPlan plan = plan_training(config, layout, o, 2, least.total() - 4_KiB);
  EXPECT_TRUE(plan.fused);
  EXPECT_LT(plan.total(), least.total());
  o.clip = 1;  // whose norm is known only when all gradients are there
  EXPECT_FALSE(plan_training(config, layout, o, 2, least.total() - 4_KiB).fused);
}

std::string refusal(const TrainOptions& options) {
  try {
    options.validate();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(FusedUpdates, NameWhatTheyCannotBeJoinedWith) {
  const RunSetup setup;
  TrainOptions o = setup.options();
  o.fused = "on";
  EXPECT_THAT(refusal(o), HasSubstr("clip: 0, or clip_mode: two-pass"));
  o.clip = 0;
  EXPECT_EQ(refusal(o), "");
  o.micro_sequences = 2;
  EXPECT_THAT(refusal(o), HasSubstr("batch.micro_sequences: 4 (or 0)"));
}

TEST(StoredWeights, LearnASmallTextInEightBits) {
  const RunSetup setup;
  TrainOptions o = wide_options(setup, "run");
  o.optimizer = default_options("q-apollo-mini");
  o.weights = {DType::kQC8, DType::kQC8};
  o.steps = 60;
  const Outcome outcome = train(o);
  EXPECT_LT(outcome.losses.back(), 0.5 * outcome.losses.front());
}

// What a step too small for a unit would lose by rounding to nearest.
TEST(StoredWeights, LearnBySmallSteps) {
  const RunSetup setup;
  TrainOptions o = wide_options(setup, "run");
  o.weights = {DType::kQC8, DType::kQC8};
  o.schedule.peak = 1e-4;  // 0.02 / 127 is a unit of about 5e-4
  o.steps = 60;
  const Outcome stored = train(o);
  o.output = setup.folder.path() / "exact";
  o.weights = {};
  const Outcome exact = train(o);
  const double gain = exact.losses.front() - exact.losses.back();
  EXPECT_NEAR(stored.losses.front() - stored.losses.back(), gain, 0.2 * gain);
}

// It is one of compressed-tensors: whoever opens it has the values that training computed with.
TEST(StoredWeights, AreReadFromTheirCheckpointToTheBit) {
  const RunSetup setup;
  TrainOptions o = wide_options(setup, "run");
  o.weights = {DType::kQC8, DType::kBF16};
  o.model["tie_word_embeddings"] = false;
  train(o);
  const StartModel model(o.output / "checkpoints" / "latest");
  const ModelConfig config = config_from_json(model.words());
  const TrainingLayout exact(config), stored(config, o.weights);
  const TestMachine machine;
  const auto block = [&](Bytes size) {
    return Arena(machine.context.ledger.require(Tier::kRam, Purpose::kAct, arena_bytes(size)));
  };
  const Arena values = block(exact.weight_bytes()), kept = block(stored.weight_bytes());
  const Arena scratch = block(model.scratch_bytes(machine.context.pool.threads()));
  model.read(machine.context, exact, 1, values.bytes(), scratch.bytes(), {});
  Checkpoints(o.output, 2).load_latest({stored, kept.bytes(), {}, {}});
  const FileRowKernels& decode = file_row_kernels_for(chosen_cpu_path());
  const std::vector<StoredRows> rows = stored.weights(kept.bytes());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const MatrixView<float> w = exact.weight(values.bytes(), static_cast<Index>(i));
    std::vector<float> decoded(static_cast<std::size_t>(rows[i].cols));
    for (Index row = 0; row < rows[i].rows; ++row) {
      decode_columns(decode, rows[i], row, 0, rows[i].cols, decoded.data());
      ASSERT_TRUE(std::equal(decoded.begin(), decoded.end(), w.row(row).begin())) << stored.tensors()[i].name;
    }
  }
}

TEST(StoredWeights, AreBrainHalvesWhereRowsAreNoWholeGroups) {
  const RunSetup setup;
  const ModelConfig config = config_from_json(setup.options().model);  // rows of 32 and 48
  const TrainingLayout layout(config, {DType::kQC8, DType::kQC8});
  for (const TrainedTensor& t : layout.tensors()) EXPECT_EQ(t.dtype, t.is_matrix() ? DType::kBF16 : DType::kF32);
}

}  // namespace
}  // namespace jericho
