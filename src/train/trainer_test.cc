// Whole runs on a small text: they learn, end where an undisturbed run ends whatever stops them, and say what is wrong.
#include "train/trainer.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/test_data.h"
#include "engine/model.h"
#include "engine/session.h"
#include "formats/model_file.h"
#include "kernels/kernels.h"
#include "memory/file.h"
#include "memory/io.h"
#include "memory/temp_folder.h"
#include "models/families.h"
#include "models/test_models.h"
#include "plan/plan.h"
#include "train/test_runs.h"

namespace jericho {
namespace {

using testing::HasSubstr;

TEST(Trainer, LearnsASmallText) {
  const RunSetup setup;
  TrainOptions o = setup.options();
  o.steps = 60;
  const Outcome outcome = train(o);
  EXPECT_TRUE(outcome.done);
  EXPECT_LT(outcome.losses.back(), 0.5 * outcome.losses.front());
  EXPECT_LT(outcome.eval_loss, 0.5 * outcome.losses.front());
}

TEST(Trainer, EndsWithTheSameBitsForAnyThreadsMicroBatchAndRecompute) {
  const RunSetup setup;
  const Outcome base = train(setup.options("base"));
  TrainOptions o = setup.options("one");
  o.micro_sequences = 1;
  o.recompute = "block";
  const Outcome one = train(o, {.threads = 4});
  EXPECT_EQ(one.losses, base.losses);
  EXPECT_EQ(one.weights, base.weights);
}

TEST(Trainer, GoesOnFromWhereItWasStopped) {
  const RunSetup setup;
  const Outcome base = train(setup.options("base"));
  const TrainOptions o = setup.options("stopped");
  EXPECT_FALSE(train(o, {.stop_after = 5}).done);
  const Outcome rest = train(o, {.threads = 1});
  EXPECT_TRUE(rest.done);
  EXPECT_EQ(rest.losses.size(), 7u);
  EXPECT_EQ(rest.weights, base.weights);
}

// Killed at random moments, at the latest after five steps: past a save, and short of the end.
TEST(Trainer, LosesNothingToKills) {
  const RunSetup setup;
  const Outcome base = train(setup.options("base"));
  const TrainOptions o = setup.options("killed");
  std::srand(5);
  int kills = 0;
  for (int tries = 0; tries < 40; ++tries) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      train(o, {.threads = 1, .die_after = 5});
      _exit(0);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + std::rand() % 200));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status)) break;
    ++kills;
  }
  EXPECT_GT(kills, 0);
  const Outcome last = train(o);
  EXPECT_TRUE(last.done);
  EXPECT_EQ(last.weights, base.weights);
}

TEST(Trainer, MendsTheLinksOfASaveThatWasNotFollowedByThem) {
  const RunSetup setup;
  const TrainOptions o = setup.options();
  const Outcome whole = train(o);
  const auto folder = o.output / "checkpoints";
  const auto best = std::filesystem::read_symlink(folder / "best");
  for (const char* name : {"latest", "best"}) {
    std::filesystem::remove(folder / name);
    std::filesystem::create_directory_symlink("step-00000009", folder / name);
  }
  EXPECT_EQ(train(o).weights, whole.weights);
  EXPECT_EQ(std::filesystem::read_symlink(folder / "latest"), "step-00000012");
  EXPECT_EQ(std::filesystem::read_symlink(folder / "best"), best);
  EXPECT_NE(best, "step-00000009");
}

// Inference reads the checkpoint and gives the logits that training computed with.
TEST(Trainer, SeesTheModelThatInferenceSees) {
  const RunSetup setup;
  const TrainOptions o = setup.options();
  train(o);
  const auto file = open_model(o.output / "checkpoints" / "latest");
  const ModelConfig config = read_config(*file);
  const WeightLayout weights = WeightLayout::of_file(config, *file);
  TestMachine machine;
  const InferenceWish wish = {.context = 64, .kv_type = KvType::kF32, .chunk = 64, .all_logits = true};
  const auto outcome = plan_inference(config, weights, {.threads = 2}, 1_GiB, wish);
  const Plan plan = std::get<Plan>(outcome);
  const auto io = make_io_backend();
  const auto model = Model::load(machine.context, config, weights, *file, plan, *io, {}, {});
  Session session(machine.context, *model, plan, KvBacking::kPopulate);
  const std::vector<std::int32_t> tokens = random_tokens(30, config.vocab_size, 4);
  const BatchItem item = {session.open(), tokens, LogitRows::kAll};
  const MatrixView<const float> inferred = session.forward({&item, 1});

  const TrainingLayout layout(config);
  const TensorInfo* first = file->find(layout.tensors().front().name);
  ASSERT_NE(first, nullptr);
  std::vector<float> values(static_cast<std::size_t>(layout.weight_bytes().count / 4));
  const File bytes = File::open_read(file->files().front(), FileCache::kUse);
  for (const TrainedTensor& t : layout.tensors()) {
    bytes.read_exactly(file->find(t.name)->offset,
                       std::as_writable_bytes(std::span(values)).subspan(t.offset.size(), t.stored_bytes().size()));
  }
  const TrainingPassOptions pass_options = {.sequence_tokens = 30, .compute = DType::kF32, .threads = 2};
  const TrainingPass pass(config, layout, pass_options);
  const TrainingMemory memory = TrainingPass::memory(config, layout, pass_options);
  const auto block = [&](Bytes size) {
    return Arena(machine.context.ledger.require(Tier::kRam, Purpose::kAct, arena_bytes(size)));
  };
  const Arena saved = block(memory.saved), live = block(memory.live), logits = block(memory.logits);
  const std::vector<AttentionSegment> segments = {{0, 30}};
  std::vector<float> trained(static_cast<std::size_t>(30 * config.vocab_size));
  pass.logits(machine.context,
              {.sequences = 1, .sequence_tokens = 30, .tokens = tokens, .targets = tokens, .segments = segments},
              layout.weights(std::as_bytes(std::span(values))), {saved.bytes(), live.bytes(), logits.bytes()}, 0,
              {trained.data(), 30, config.vocab_size});
  for (Index t = 0; t < 30; ++t) {
    for (Index v = 0; v < config.vocab_size; ++v) {
      // The same formulas in fp32, summed in another order.
      ASSERT_NEAR(trained[static_cast<std::size_t>(t * config.vocab_size + v)], inferred(t, v), 2e-5f) << t << " " << v;
    }
  }
}

TEST(Trainer, KeepsTheLastCheckpointsAndTheBest) {
  const RunSetup setup;
  TrainOptions o = setup.options();
  o.keep_last = 2;
  train(o);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(o.output / "checkpoints")) {
    names.push_back(entry.path().filename().string());
  }
  EXPECT_THAT(names, testing::IsSupersetOf({"latest", "best", "step-00000012"}));
  EXPECT_LE(names.size(), 5u);  // two links, two of the last and the best
}

TEST(Trainer, RefusesToGoOnWithAnotherConfiguration) {
  const RunSetup setup;
  TrainOptions o = setup.options();
  train(o, {.stop_after = 3});
  o.seed = 2;
  try {
    train(o);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("another 'seed' (1, now 2)"));
  }
}

TEST(Trainer, StopsAtALossThatIsNoNumberAndKeepsItsCheckpoint) {
  const RunSetup setup;
  TrainOptions o = setup.options();
  o.schedule = {.shape = "constant", .peak = 9, .warmup = 0};
  o.clip = 0;
  o.steps = 400;
  o.optimizer.weight_decay = 900;
  try {
    train(o);
    FAIL() << "weights grew without bound and nothing was said";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("schedule.peak"));
  }
}

TEST(Trainer, ACheckpointThatWasChangedIsNotGoneOnFrom) {
  const RunSetup setup;
  const TrainOptions o = setup.options();
  train(o, {.stop_after = 3});
  {
    std::fstream file(o.output / "checkpoints" / "latest" / "optimizer.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-4, std::ios::end);
    file.write("\1\2\3\4", 4);
  }
  try {
    train(o);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("optimizer.safetensors: its bytes are not those that were saved"));
  }
}

TEST(TrainingPlan, RecomputesWhereActivationsDoNotFitAndTakesSmallerMicroBatches) {
  const RunSetup setup;
  TrainOptions o = setup.options();
  o.step_sequences = 16;
  const ModelConfig config = config_from_json(o.model);
  const TrainingLayout layout(config);
  const TrainingPlan roomy = plan_training(config, layout, o, 2, 1_GiB);
  EXPECT_EQ(roomy.pass.sequences, 16);
  EXPECT_EQ(roomy.pass.recompute, Recompute::none());
  const TrainingPlan least = plan_training(config, layout, o, 2, 0_B);
  EXPECT_EQ(least.pass.sequences, 1);
  EXPECT_EQ(least.pass.recompute.kept, 1);
  EXPECT_LT(least.total(), roomy.total());
  EXPECT_LE(plan_training(config, layout, o, 2, least.total()).total(), least.total());
}

TEST(TrainingPlan, KeepsAsManyBlocksAsFitAndMakesInputsAgainLast) {
  const RunSetup setup;
  TrainOptions o = setup.options();
  o.model["num_hidden_layers"] = 9;
  o.step_sequences = 1;
  const ModelConfig config = config_from_json(o.model);
  const TrainingLayout layout(config);
  const TrainingPlan least = plan_training(config, layout, o, 2, 0_B);
  EXPECT_EQ(least.pass.recompute, Recompute::inputs_too(3));
  Index kept = 9;
  Bytes room = plan_training(config, layout, o, 2, 1_GiB).total();
  while (room >= least.total()) {
    const TrainingPlan plan = plan_training(config, layout, o, 2, room);
    EXPECT_LE(plan.total(), room);
    const Recompute& recompute = plan.pass.recompute;
    if (recompute.every > 1) break;
    EXPECT_LE(std::min<Index>(9, recompute.kept), kept);
    kept = std::min<Index>(9, recompute.kept);
    room = plan.total() - 4_KiB;
  }
  EXPECT_EQ(kept, 1);
  EXPECT_LE(least.total(), room);
}

TEST(TokenStore, NamesAFileWithoutText) {
  const RunSetup setup;
  TrainOptions o = setup.options();
  std::ofstream(setup.folder.path() / "empty.txt") << " \n<|endoftext|>\n";
  o.train_files = {(setup.folder.path() / "empty.txt").string()};
  try {
    train(o);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("empty.txt: holds no text"));
  }
}

TEST(TrainOptions, NameTheNearestKey) {
  const RunSetup setup;
  const auto file = setup.folder.path() / "run.yaml";
  const auto refused = [&](const std::string& yaml, const std::vector<std::string>& sets) -> std::string {
    std::ofstream(file) << yaml;
    try {
      read_train_options(file, sets);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing";
  };
  EXPECT_THAT(refused("schedule:\n  peek: 1\n", {}),
              HasSubstr("'schedule.peek' is no key of a training run; the nearest is 'schedule.peak'"));
  EXPECT_THAT(refused("output: x\n", {"step=3"}), HasSubstr("the nearest is 'steps'"));
  EXPECT_THAT(refused("output: x\nsteps: many\n", {}), HasSubstr("steps: expected a whole number, found 'many'"));
  EXPECT_THAT(refused("- a\n", {}), HasSubstr("expected keys and values"));
  EXPECT_THAT(refused("a: [", {}), HasSubstr("is no YAML"));
  EXPECT_THAT(refused("output: x\n", {}), HasSubstr("tokenizer: must be given"));
}

TEST(SequenceSampler, PacksWholeDocumentsAndTrainsEveryTokenOnce) {
  const RunSetup setup;
  const TrainOptions o = setup.options();
  Ledger ledger(LedgerCaps{.ram = 1_GiB});
  ThreadPool pool(2);
  const Context context{ledger, pool, kernels_for(chosen_cpu_path())};
  const TokenStore texts = TokenStore::read(context, o.train_files, {}, 65, *RunSetup::tokenizer(o), {}, {});
  for (const DataMode mode : {DataMode::kDocuments, DataMode::kStream}) {
    SequenceSampler sampler(texts, mode, true, 64, 1);
    SampleRows rows;
    for (Index i = 0; i < sampler.epoch_sequences(0); ++i) sampler.append(0, i, rows);
    EXPECT_EQ(rows.tokens.size(), static_cast<std::size_t>(64 * sampler.epoch_sequences(0)));
    if (mode == DataMode::kDocuments) {
      EXPECT_EQ(rows.trained, texts.tokens() - texts.documents());
      EXPECT_EQ(static_cast<Index>(rows.segments.size()), texts.documents());
    }
    SampleRows again, other;
    sampler.append(0, 1, again);
    EXPECT_EQ(again.tokens, std::vector(rows.tokens.begin() + 64, rows.tokens.begin() + 128));
    for (Index i = 0; i < sampler.epoch_sequences(1); ++i) sampler.append(1, i, other);
    EXPECT_NE(other.tokens, rows.tokens) << "another epoch has another order";
  }
}

}  // namespace
}  // namespace jericho
