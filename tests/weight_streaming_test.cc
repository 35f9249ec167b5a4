// Weights that do not fit are read from their file in every pass: the bits are those of the model in memory, whatever
// part of it is pinned, and reads that fail end in an error that names file and tensor and leaves the session as it
// was.
#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/bit_equal.h"
#include "support/model_of.h"
#include "support/whole_model.h"

namespace jericho {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr Index kContext = 96;

// Its layers several times over: a model of two layers is as large as what streaming it takes.
ModelConfig deep(ModelConfig c, Index times) {
  const std::vector<LayerConfig> layers = c.layers;
  for (Index n = 1; n < times; ++n) c.layers.insert(c.layers.end(), layers.begin(), layers.end());
  c.num_hidden_layers = static_cast<Index>(c.layers.size());
  return c;
}

ModelConfig passed_twice() {  // MobileLLM runs each layer several times in a row
  ModelConfig c = deep(small_config(), 6);
  c.layer_passes = 2;
  return c;
}

ModelConfig untied_config() {
  ModelConfig c = small_config();
  c.architecture = "untied";
  c.vocab_size = 4500;  // a head of several pieces in F32
  c.hidden_size = 512;
  c.tie_word_embeddings = false;
  return c;
}

ModelConfig tied_config() {
  ModelConfig c = untied_config();
  c.tie_word_embeddings = true;
  return c;
}

// Almost all of it experts.
ModelConfig mixture_config() {
  ModelConfig c = deep(experts_config(), 2);
  c.architecture = "mixture";
  for (LayerConfig& layer : c.layers) layer.feed_forward = FeedForward::kExperts;
  c.moe.experts = 16;
  return c;
}

// A model file, and the plans for it.
class Streamed {
 public:
  explicit Streamed(ModelConfig config, ModelFormat format = ModelFormat::kGguf, DType dtype = DType::kF32)
      : config_(std::move(config)) {
    file_ = open_model(write_model(folder_, config_, format, dtype));
    layout_ = WeightLayout::of_file(config_, *file_);
    whole_ = plan(1_GiB);
    JERICHO_CHECK(whole_.weights.whole, "{} does not fit 1 GiB", config_.architecture);
  }

  [[nodiscard]] std::variant<Plan, DoesNotFit> ask(Bytes budget, InferenceWish wish = {}) const {
    if (!wish.context) wish.context = kContext;
    if (!wish.chunk) wish.chunk = 32;
    wish.all_logits = true;
    return plan_inference(config_, layout_, {.threads = 2}, budget, wish);
  }
  [[nodiscard]] Plan plan(Bytes budget) const { return std::get<Plan>(ask(budget)); }
  [[nodiscard]] Plan smallest(const InferenceWish& wish = {}) const {
    return std::get<Plan>(ask(std::get<DoesNotFit>(ask(1_KiB, wish)).smallest_budget, wish));
  }
  [[nodiscard]] const Plan& whole() const { return whole_; }
  // Plans from the smallest to all but whole.
  [[nodiscard]] std::vector<Plan> ladder() const {
    std::vector<Plan> plans;
    const Bytes least = smallest().peak(), most = whole_.peak() - 1_B;
    for (int step = 0; step <= 4; ++step) {
      plans.push_back(plan(least + Bytes{(most - least).count * step / 4}));
    }
    return plans;
  }

  [[nodiscard]] std::unique_ptr<Model> load(
      const Context& context, const Plan& plan, const MakeIo& make_io = [] { return make_io_backend(); }) const {
    const auto io = make_io_backend();
    return Model::load(context, config_, layout_, *file_, plan, *io, {}, {}, make_io);
  }
  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const WeightLayout& layout() const { return layout_; }

  // Logits of a text in chunks, some without logits, then token by token.
  [[nodiscard]] std::vector<float> logits(const TestMachine& machine, const Model& model, const Plan& plan) const {
    Session session(machine.context, model, plan, KvBacking::kOnDemand);
    const SequenceId sequence = session.open();
    const auto tokens = random_tokens(90, config_.vocab_size, 7);
    const auto first = std::span(tokens).first(80);
    session.prefill(sequence, first.first(40));
    std::vector<float> all = logits_of(session, sequence, first.subspan(40));
    for (const TokenId& token : std::span(tokens).subspan(80)) {
      const std::vector<float> one = logits_of(session, sequence, {&token, 1});
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }

 private:
  TestDirectory folder_;
  ModelConfig config_;
  std::unique_ptr<ModelFile> file_;
  WeightLayout layout_;
  Plan whole_;
};

struct Case {
  std::string name;
  ModelConfig config;
  ModelFormat format;
  DType dtype;
};

class StreamedWeights : public testing::TestWithParam<Case> {};

TEST_P(StreamedWeights, GiveTheBitsOfTheModelInMemoryUnderAnyBudget) {
  const Streamed streamed(GetParam().config, GetParam().format, GetParam().dtype);
  std::vector<float> expected;
  {
    const TestMachine machine;
    expected = streamed.logits(machine, *streamed.load(machine.context, streamed.whole()), streamed.whole());
  }
  std::set<std::int64_t> pinned;
  for (const Plan& plan : streamed.ladder()) {
    ASSERT_FALSE(plan.weights.whole);
    const TestMachine machine;
    const auto model = streamed.load(machine.context, plan);
    pinned.insert((plan.weights.resident + plan.of(Purpose::kWeightsExperts)).count);
    ASSERT_THAT(streamed.logits(machine, *model, plan), BitEqual(expected))
        << plan.weights.resident.count << " of " << streamed.layout().bytes().count << " in memory";
  }
  EXPECT_GE(pinned.size(), 3u);
}

INSTANTIATE_TEST_SUITE_P(
    Models, StreamedWeights,
    testing::Values(Case{"tied", tied_config(), ModelFormat::kGguf, DType::kF32},
                    Case{"untied", untied_config(), ModelFormat::kGguf, DType::kQ8_0},
                    Case{"untied_f32", untied_config(), ModelFormat::kGguf, DType::kF32},
                    Case{"biases", deep(rich_config(), 6), ModelFormat::kGguf, DType::kQ4_K},
                    Case{"directory", deep(rich_config(), 4), ModelFormat::kHuggingFace, DType::kBF16},
                    Case{"odd", deep(odd_config(), 4), ModelFormat::kGguf, DType::kF16},
                    Case{"norms", deep(capped_config(), 6), ModelFormat::kGguf, DType::kQ4_0},
                    Case{"passes", passed_twice(), ModelFormat::kGguf, DType::kQ8_0},
                    Case{"experts", deep(experts_config(), 3), ModelFormat::kGguf, DType::kQ8_0},
                    Case{"experts_directory", deep(experts_config(), 2), ModelFormat::kHuggingFace, DType::kBF16},
                    Case{"mixture", mixture_config(), ModelFormat::kGguf, DType::kQ4_0},
                    Case{"latent", latent_config(), ModelFormat::kGguf, DType::kF32},
                    Case{"mamba", deep(mamba_config(), 2), ModelFormat::kGguf, DType::kF32},
                    Case{"hybrid", hybrid_config(), ModelFormat::kGguf, DType::kF32}),
    [](const auto& test) { return test.param.name; });

TEST(StreamedPlan, TakesNoMoreThanItsBudgetAndPinsMoreWithMore) {
  const Streamed streamed(rich_config());
  const Bytes least = std::get<DoesNotFit>(streamed.ask(1_KiB)).smallest.peak(), whole = streamed.whole().peak();
  Bytes resident{};
  for (Bytes budget = least; budget < whole; budget += 256_KiB) {
    const Plan plan = streamed.plan(budget);
    EXPECT_LE(plan.peak(), budget);
    EXPECT_GE(plan.weights.resident + 64_KiB, resident) << budget.count;  // units are whole
    resident = plan.weights.resident;
  }
  EXPECT_TRUE(std::holds_alternative<DoesNotFit>(streamed.ask(least - 1_B)));
  EXPECT_TRUE(streamed.plan(whole).weights.whole);
}

TEST(StreamedPlan, ReadsNothingInAPassOnceOnlyTheEmbeddingIsNotInMemory) {
  const Streamed streamed(untied_config());
  const Plan plan = streamed.plan(streamed.whole().peak() - 1_MiB);
  EXPECT_FALSE(plan.weights.whole);
  EXPECT_FALSE(plan.weights.streams());
  EXPECT_EQ(plan.weights.read_per_pass, 0_B);
  EXPECT_EQ(plan.weights.read_per_token, 8_KiB);
}

TEST(StreamedPlan, LeasesAndUsesWhatItSays) {
  const Streamed streamed(rich_config());
  const Plan plan = streamed.smallest();
  const TestMachine machine;
  const auto model = streamed.load(machine.context, plan);
  const auto cell = [&](Purpose purpose) { return machine.ledger.snapshot().cell(Tier::kRam, purpose); };
  EXPECT_EQ(cell(Purpose::kWeightsResident).reserved, plan.of(Purpose::kWeightsResident));
  EXPECT_EQ(cell(Purpose::kWeightsStaging).used, plan.run_of(Purpose::kWeightsStaging));
  EXPECT_EQ(cell(Purpose::kWeightsStaging).peak_reserved, plan.of(Purpose::kWeightsStaging));
}

TEST(ExpertsInSlots, MakeAMixtureRunInAQuarterOfItsMemory) {
  const Streamed streamed(mixture_config(), ModelFormat::kGguf, DType::kQ8_0);
  const Plan plan = streamed.plan(Bytes{streamed.whole().peak().count / 4});
  EXPECT_LE(4 * plan.peak(), streamed.whole().peak());
  EXPECT_GT(plan.weights.experts.slots, 0);
  EXPECT_LT(plan.weights.experts.slots, plan.weights.experts.experts / 3);
  const TestMachine machine;
  const std::vector<float> expected =
      streamed.logits(machine, *streamed.load(machine.context, streamed.whole()), streamed.whole());
  const auto model = streamed.load(machine.context, plan);
  EXPECT_THAT(streamed.logits(machine, *model, plan), BitEqual(expected));
}

TEST(ExpertsInSlots, AreAsManyAsThePlanLeases) {
  const Streamed streamed(mixture_config(), ModelFormat::kGguf, DType::kQ8_0);
  Index slots = 0;
  for (const Plan& plan : streamed.ladder()) {
    const TestMachine machine;
    const auto model = streamed.load(machine.context, plan);
    const LedgerCount cell = machine.ledger.snapshot().cell(Tier::kRam, Purpose::kWeightsExperts);
    EXPECT_EQ(cell.reserved, plan.of(Purpose::kWeightsExperts));
    EXPECT_EQ(cell.used, cell.reserved);
    EXPECT_GE(plan.weights.experts.slots, slots);
    slots = plan.weights.experts.slots;
    EXPECT_GE(slots, streamed.config().moe.experts_per_token);
  }
  EXPECT_GT(slots, streamed.smallest().weights.experts.slots);
}

TEST(ExpertsInSlots, AreReadOnceWhereAllHaveOneAndOftenWhereFewHave) {
  const Streamed streamed(mixture_config(), ModelFormat::kGguf, DType::kQ8_0);
  const auto counts_after = [&](const Plan& plan) {
    const TestMachine machine;
    const auto model = streamed.load(machine.context, plan);
    static_cast<void>(streamed.logits(machine, *model, plan));
    return *model->weights().expert_counts();
  };
  const Plan few = streamed.smallest(), many = streamed.plan(streamed.whole().peak() - 1_B);
  const ExpertCounts little = counts_after(few), much = counts_after(many);
  EXPECT_GT(many.weights.experts.slots, many.weights.experts.experts * 3 / 4);
  EXPECT_LE(much.reads, 2 * many.weights.experts.experts);
  EXPECT_GT(much.hits, 2 * much.reads);
  EXPECT_GT(little.reads, 2 * much.reads);
  const ExpertCounts some = counts_after(streamed.plan(Bytes{streamed.whole().peak().count / 3}));
  EXPECT_GT(some.expected, 0) << "some are guessed, also where the disk is far slower than the layers";
  const auto asked = [](const ExpertCounts& c) { return c.hits + c.foreseen + c.reads - c.expected; };
  EXPECT_EQ(asked(little), asked(much));
}

TEST(ExpertsInSlots, GoBackToTheMachineBetweenTokensAndLeaveTheBits) {
  const Streamed streamed(mixture_config());
  const TestMachine machine(2);
  const auto logits_giving_back = [&](const Plan& plan, Bytes each) {
    const auto model = streamed.load(machine.context, plan);
    Session session(machine.context, *model, plan, KvBacking::kOnDemand);
    const SequenceId sequence = session.open();
    std::vector<float> all;
    const auto slots = [&] { return machine.ledger.snapshot().cell(Tier::kRam, Purpose::kWeightsExperts); };
    for (const TokenId& token : random_tokens(30, streamed.config().vocab_size, 7)) {
      const LedgerCount before = slots();
      const Bytes given = model->give_back(each);
      EXPECT_EQ(before.reserved - slots().reserved, given);
      EXPECT_EQ(before.used - slots().used, given);
      const std::vector<float> one = logits_of(session, sequence, {&token, 1});
      all.insert(all.end(), one.begin(), one.end());
    }
    if (each > 0_B) {
      const Bytes slot{plan.of(Purpose::kWeightsExperts).count / plan.weights.experts.slots};
      EXPECT_EQ(slots().reserved, slot * streamed.config().moe.experts_per_token) << "what a token needs";
      EXPECT_EQ(model->give_back(1_GiB), 0_B);
    }
    return all;
  };
  const Plan most = streamed.plan(streamed.whole().peak() - 1_B);
  const std::vector<float> expected = logits_giving_back(streamed.whole(), 0_B);
  EXPECT_THAT(logits_giving_back(most, 0_B), BitEqual(expected));
  EXPECT_THAT(logits_giving_back(most, Bytes{most.of(Purpose::kWeightsExperts).count / 12}), BitEqual(expected));
}

TEST(ExpertsInSlots, AreAllInMemoryWhereTheirFormIsUndoneByLoading) {
  ModelConfig small = mixture_config();
  small.moe.intermediate_size = 32;  // in BF16, an expert's weights take less than some blocks of the disk
  small.hidden_size = 64;
  small.head_dim = small.rope.dims = 8;
  const Streamed streamed(small, ModelFormat::kGguf, DType::kBF16);
  const Plan plan = streamed.smallest();
  EXPECT_EQ(plan.weights.experts.slots, 0);
  EXPECT_EQ(plan.of(Purpose::kWeightsExperts), 0_B);
}

// Backends that spoil requests; each is made with the same script.
MakeIo spoiled(IoScript script) {
  return [script] { return make_scripted_backend(make_io_backend(), script); };
}

struct Spoiled {
  int every = 0;
  std::string name{};
  ModelConfig (*config)() = nullptr;
  DType dtype = DType::kF32;
};

class SpoiledReads : public testing::TestWithParam<Spoiled> {};

TEST_P(SpoiledReads, ThatCanBeMendedChangeNothing) {
  const Streamed streamed(GetParam().config(), ModelFormat::kGguf, GetParam().dtype);
  const Plan plan = streamed.smallest();
  const TestMachine machine;
  const std::vector<float> expected =
      streamed.logits(machine, *streamed.load(machine.context, streamed.whole()), streamed.whole());
  const auto model =
      streamed.load(machine.context, plan,
                    spoiled({.every = GetParam().every,
                             .faults = {IoFault::kEintr, IoFault::kHalf, IoFault::kEagain, IoFault::kShortByOne,
                                        IoFault::kReorder, IoFault::kEio, IoFault::kDelay},
                             .delay = std::chrono::milliseconds(2)}));
  EXPECT_THAT(streamed.logits(machine, *model, plan), BitEqual(expected));
}

TEST_P(SpoiledReads, ThatCannotEndInAnErrorAndCanBeTriedAgain) {
  const Streamed streamed(GetParam().config(), ModelFormat::kGguf, GetParam().dtype);
  const Plan plan = streamed.smallest();
  const TestMachine machine;
  const auto tokens = random_tokens(20, streamed.config().vocab_size, 7);
  const auto run = [&](const Model& model, const Plan& of, int& errors) {
    Session session(machine.context, model, of, KvBacking::kOnDemand);
    const SequenceId sequence = session.open();
    std::vector<float> all;
    for (const TokenId& token : tokens) {
      while (true) {
        const Index length = session.length(sequence);
        try {
          const std::vector<float> one = logits_of(session, sequence, {&token, 1});
          all.insert(all.end(), one.begin(), one.end());
          break;
        } catch (const Error& error) {
          EXPECT_THAT(error.what(), AllOf(HasSubstr("tensor '"), HasSubstr("model.gguf")));
          EXPECT_TRUE(error.kind() == ErrorKind::kInput || error.kind() == ErrorKind::kIo);
          EXPECT_EQ(session.length(sequence), length);
          if (++errors > 1000) throw;
        }
      }
    }
    return all;
  };
  int errors = 0;
  const std::vector<float> expected = run(*streamed.load(machine.context, streamed.whole()), streamed.whole(), errors);
  ASSERT_EQ(errors, 0);
  const auto model =
      streamed.load(machine.context, plan,
                    spoiled({.every = GetParam().every, .at_most = 40, .faults = {IoFault::kEnd, IoFault::kEnospc}}));
  EXPECT_THAT(run(*model, plan, errors), BitEqual(expected));
  EXPECT_GT(errors, 0);
}

INSTANTIATE_TEST_SUITE_P(Every, SpoiledReads,
                         testing::Values(Spoiled{3, "dense", rich_config}, Spoiled{7, "dense", rich_config},
                                         Spoiled{50, "dense", rich_config},
                                         Spoiled{3, "mixture", mixture_config, DType::kQ4_0},
                                         Spoiled{7, "mixture", mixture_config, DType::kQ4_0},
                                         Spoiled{50, "mixture", mixture_config, DType::kQ4_0}),
                         [](const auto& test) { return test.param.name + "_" + std::to_string(test.param.every); });

// A step that failed gives back the pages of keys in full that it took: the pool has those of one step, and two
// sequences fail here one after the other where a step takes most.
TEST(SpoiledReadsOfKeysPerChannel, LeaveThemToBeReadAgainInAnySequence) {
  const Streamed streamed(rich_config());
  const InferenceWish wish = {.context = 512, .sequences = 2, .kv_type = {KvType::kQ4C, KvType::kQ4}, .chunk = 128};
  const Plan plan = streamed.smallest(wish);
  ASSERT_FALSE(plan.weights.whole);
  const TestMachine machine;
  constexpr Index kFirst = 120, kTokens = kFirst + 2 * 128;
  const auto tokens = random_tokens(kTokens, streamed.config().vocab_size, 7);
  const auto run = [&](const Model& model, int& errors) {
    Session session(machine.context, model, plan, KvBacking::kOnDemand);
    const std::array<SequenceId, 2> sequences = {session.open(), session.open()};
    std::vector<float> all;
    for (std::size_t turn = 0; session.length(sequences[0]) + session.length(sequences[1]) < 2 * kTokens; ++turn) {
      const SequenceId sequence = sequences[turn % 2];  // after an error too: it is the other's turn
      const auto rest = std::span(tokens).subspan(static_cast<std::size_t>(session.length(sequence)));
      if (rest.empty()) continue;
      try {
        const std::vector<float> rows =
            logits_of(session, sequence, rest.first(session.length(sequence) == 0 ? kFirst : 128));
        if (turn % 2 == 0) all.insert(all.end(), rows.begin(), rows.end());
      } catch (const Error&) {
        if (++errors > 1000) throw;
      }
    }
    return all;
  };
  int errors = 0;
  const std::vector<float> expected = run(*streamed.load(machine.context, plan), errors);
  ASSERT_EQ(errors, 0);
  for (const int every : {37, 60}) {
    errors = 0;
    const auto model =
        streamed.load(machine.context, plan, spoiled({.every = every, .at_most = 200, .faults = {IoFault::kEnd}}));
    EXPECT_THAT(run(*model, errors), BitEqual(expected)) << every;
    EXPECT_GT(errors, 3) << every;
  }
}

// A model file has no checksums: what the disk says is what is computed with. It must not do worse than that.
TEST(FlippedBits, ChangeNumbersAndNothingElse) {
  const Streamed streamed(rich_config());
  const Plan plan = streamed.smallest();
  for (const int every : {3, 7, 50}) {
    const TestMachine machine;
    const auto model = streamed.load(machine.context, plan, spoiled({.every = every, .faults = {IoFault::kFlipBit}}));
    EXPECT_EQ(streamed.logits(machine, *model, plan).size(),
              50u * static_cast<std::size_t>(streamed.config().vocab_size));
  }
}

TEST(StateSpaces, LoseASequenceWhoseReadFailed) {
  const Streamed streamed(hybrid_config());
  const Plan plan = streamed.smallest();
  const TestMachine machine;
  const auto tokens = random_tokens(3, streamed.config().vocab_size, 7);
  const std::vector<float> expected = [&] {
    const auto whole = streamed.load(machine.context, streamed.whole());
    Session session(machine.context, *whole, streamed.whole(), KvBacking::kOnDemand);
    return logits_of(session, session.open(), tokens);
  }();
  const auto model =
      streamed.load(machine.context, plan, spoiled({.every = 12, .at_most = 1, .faults = {IoFault::kEnd}}));
  Session session(machine.context, *model, plan, KvBacking::kOnDemand);
  SequenceId sequence = session.open();
  int failed = 0;
  while (failed == 0) {
    try {
      session.prefill(sequence, tokens);
      ASSERT_LT(session.length(sequence), kContext - 3);
    } catch (const Error&) {
      ++failed;
    }
  }
  EXPECT_TRUE(session.failed(sequence));  // its state is half of one step and half of another
  session.close(sequence);
  sequence = session.open();
  EXPECT_THAT(logits_of(session, sequence, tokens), BitEqual(expected));
}

TEST(StreamedModel, EndsWhileItReadsAhead) {
  const Streamed streamed(untied_config());
  const Plan plan = streamed.smallest();
  const TestMachine machine;
  for (int round = 0; round < 20; ++round) {
    const auto model = streamed.load(machine.context, plan, spoiled({.every = 2, .faults = {IoFault::kDelay}}));
    Session session(machine.context, *model, plan, KvBacking::kOnDemand);
    if (round % 2 == 1) session.prefill(session.open(), random_tokens(2, 100, 1));
  }
}

TEST(StreamedModel, ServesSeveralSequencesAndSessionsInTurn) {
  const Streamed streamed(untied_config());
  const TestMachine machine;
  const auto tokens = random_tokens(8, streamed.config().vocab_size, 9);
  const auto run = [&](const Model& model, const Plan& plan) {
    Session one(machine.context, model, plan, KvBacking::kOnDemand);
    Session other(machine.context, model, plan, KvBacking::kOnDemand);
    const SequenceId a = one.open(), b = other.open();
    std::vector<float> all;
    for (const TokenId& token : tokens) {
      for (const auto& [session, sequence] : {std::pair(&one, a), std::pair(&other, b)}) {
        const std::vector<float> logits = logits_of(*session, sequence, {&token, 1});
        all.insert(all.end(), logits.begin(), logits.end());
      }
    }
    return all;
  };
  const auto whole = streamed.load(machine.context, streamed.whole());
  const auto model = streamed.load(machine.context, streamed.smallest());
  EXPECT_THAT(run(*model, streamed.smallest()), BitEqual(run(*whole, streamed.whole())));
}

}  // namespace
}  // namespace jericho
