// Models with adapters beside them: an adapter of nothing changes no bit, one of something is the model with W + s B A
// (DoRA: with its rows of the given lengths), and neither threads, chunks, company nor CPU path show in the result.
#include "engine/adapters.h"

#include <cmath>
#include <map>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/bit_equal.h"
#include "support/model_of.h"
#include "support/test_adapter.h"
#include "support/whole_model.h"

namespace jericho {
namespace {

using testing::HasSubstr;

constexpr Index kPrompt = 90;  // over one block of 64 positions and into a second

// A base and adapters beside it, as a verb sets them up.
class Adapted {
 public:
  Adapted(const Context& context, const ModelConfig& config, DType dtype, const std::vector<AdapterChoice>& choices)
      : context_(context), config_(config), set_(choices, config, ModelFormat::kHuggingFace) {
    layout_ = WeightLayout::of_shape(config_, dtype);
    shape_ = set_.shape(layout_, context.pool.threads());
    model_ = Model::random(context, config_, layout_, 1, shape_.rank);
    set_.load(context, config_, layout_, nullptr, *io_, {});
  }
  Adapted(const Context& context, const ModelConfig& config, const std::filesystem::path& base,
          const std::vector<AdapterChoice>& choices)
      : context_(context), config_(config), file_(open_model(base)), set_(choices, config, file_->format()) {
    layout_ = WeightLayout::of_file(config_, *file_);
    shape_ = set_.shape(layout_, context.pool.threads());
    model_ = Model::load(context, config_, layout_, *file_, plan({}), *io_, {}, {});
    set_.load(context, config_, layout_, file_.get(), *io_, {});
  }

  [[nodiscard]] Plan plan(InferenceWish wish) const {
    wish.adapters = shape_;
    return plan_of(config_, layout_, context_.pool.threads(), wish);
  }
  [[nodiscard]] const Model& model() const { return *model_; }
  [[nodiscard]] AdapterList list() const { return set_.list(); }
  [[nodiscard]] std::vector<float> logits(std::span<const TokenId> prompt, AdapterList adapters,
                                          Index chunk = 512) const {
    Session session(context_, *model_,
                    plan({.context = 128, .kv_type = KvType::kF32, .chunk = chunk, .all_logits = true}),
                    KvBacking::kPopulate);
    return logits_of(session, session.open(adapters), prompt);
  }
  [[nodiscard]] std::vector<float> logits(std::span<const TokenId> prompt, Index chunk = 512) const {
    return logits(prompt, list(), chunk);
  }

 private:
  const Context& context_;
  ModelConfig config_;
  std::unique_ptr<IoBackend> io_ = make_io_backend();
  std::unique_ptr<ModelFile> file_{};
  AdapterSet set_;
  WeightLayout layout_;
  AdapterShape shape_{};
  std::unique_ptr<Model> model_;
};

struct Case {
  const char* name;
  ModelConfig (*config)();
  DType dtype;
};
class Adapters : public testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] static ModelConfig config() { return GetParam().config(); }
  [[nodiscard]] std::filesystem::path write(const TestAdapterOptions& options) {
    return write_adapter(folder_.path() / std::to_string(++written_), config(), options);
  }
  [[nodiscard]] Adapted beside(const TestMachine& machine, const std::vector<AdapterChoice>& choices) const {
    return {machine.context, config(), GetParam().dtype, choices};
  }

  TestDirectory folder_;
  int written_ = 0;
  TestMachine machine_{1};
  std::vector<TokenId> prompt_ = random_tokens(kPrompt, config().vocab_size, 7);
};
INSTANTIATE_TEST_SUITE_P(
    , Adapters,
    testing::Values(Case{"small_q4_0", small_config, DType::kQ4_0}, Case{"rich_bf16", rich_config, DType::kBF16},
                    Case{"odd_f16", odd_config, DType::kF16}, Case{"experts_q8_0", experts_config, DType::kQ8_0},
                    Case{"capped_q4_k", capped_config, DType::kQ4_K}, Case{"hybrid_f32", hybrid_config, DType::kF32}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_P(Adapters, OfNothingLeaveEveryBit) {
  const Adapted model = beside(machine_, {{write({.zero_b = true})}});
  EXPECT_THAT(model.logits(prompt_), BitEqual(model.logits(prompt_, AdapterList{})));
}

TEST_P(Adapters, GiveTheSameBitsForAnyThreadsChunksAndPath) {
  const std::vector<AdapterChoice> choices = {{write({.rank = 5})}, {write({.rank = 24, .seed = 2}), 0.5f}};
  const std::vector<float> reference = beside(machine_, choices).logits(prompt_);
  EXPECT_THAT(reference, testing::Not(BitEqual(beside(machine_, choices).logits(prompt_, AdapterList{}))));
  EXPECT_THAT(beside(machine_, choices).logits(prompt_, 1), BitEqual(reference)) << "token by token";
  const TestMachine two(2), four(4);
  EXPECT_THAT(beside(two, choices).logits(prompt_, 7), BitEqual(reference)) << "2 threads, chunks of 7";
  EXPECT_THAT(beside(four, choices).logits(prompt_, 40), BitEqual(reference)) << "4 threads, chunks of 40";
  for (const CpuPath path : usable_cpu_paths()) {
    const TestMachine other(2, path);
    EXPECT_THAT(beside(other, choices).logits(std::span(prompt_).first(20)),
                BitEqual(std::span(reference).first(20 * static_cast<std::size_t>(config().vocab_size))))
        << name(path);
  }
}

TEST_P(Adapters, MeetOthersInABatchRowByRow) {
  const Adapted model = beside(machine_, {{write({})}, {write({.rank = 3, .seed = 2}), 2}});
  const AdapterList both = model.list();
  const std::vector<AdapterList> lists = {both.first(1), {}, both.last(1), both, both.last(1), both.last(1)};
  std::vector<std::vector<TokenId>> prompts;
  const auto sequences = static_cast<Index>(lists.size());
  Session session(
      machine_.context, model.model(),
      model.plan({.context = 128, .sequences = sequences, .kv_type = KvType::kF32, .chunk = 512, .all_logits = true}),
      KvBacking::kPopulate);
  std::vector<BatchItem> items;
  for (std::size_t i = 0; i < lists.size(); ++i) {
    prompts.push_back(random_tokens(9 + 5 * static_cast<Index>(i), config().vocab_size, static_cast<unsigned>(i)));
  }
  for (std::size_t i = 0; i < lists.size(); ++i) items.push_back({session.open(lists[i]), prompts[i], LogitRows::kAll});
  const MatrixView<const float> logits = session.forward(items);
  Index row = 0;
  for (std::size_t i = 0; i < lists.size(); ++i) {
    const MatrixView<const float> own = logits.rows(row, std::ssize(prompts[i]));
    row += std::ssize(prompts[i]);
    EXPECT_THAT(std::vector<float>(own.data(), own.data() + own.extent(0) * own.extent(1)),
                BitEqual(model.logits(prompts[i], lists[i])))
        << "sequence " << i;
  }
}

// A base in a file of F32, and the same with other values of its matrices.
class BaseInAFile {
 public:
  explicit BaseInAFile(ModelConfig config) : config_(std::move(config)) {
    std::mt19937 random(5);
    for (const auto& [name, tensor] : stored_tensors(config_, ModelFormat::kHuggingFace, DType::kF32)) {
      Index elements = 1;
      for (const Index extent : tensor.shape) elements *= extent;
      std::vector<float>& values = values_[name];
      std::normal_distribution<float> normal(0, 0.08f);
      for (Index i = 0; i < elements; ++i) values.push_back(tensor.matrix ? normal(random) : tensor.neutral);
    }
  }
  std::map<std::string, std::vector<float>>& values() { return values_; }
  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] std::filesystem::path write() {
    folders_.push_back(std::make_unique<TestDirectory>());
    folders_.back()->put("config.json", "{}");
    SafetensorsWriter writer;
    const auto tensors = stored_tensors(config_, ModelFormat::kHuggingFace, DType::kF32);
    for (const auto& [name, tensor] : tensors) writer.add_tensor(name, DType::kF32, tensor.shape);
    std::ofstream out(folders_.back()->path() / "model.safetensors", std::ios::binary);
    writer.begin(out);
    for (const auto& [name, values] : values_) writer.append(std::as_bytes(std::span(values)));
    return folders_.back()->path();
  }
  // Row n of module `path` with what an adapter of scale s adds.
  [[nodiscard]] std::vector<double> row_with(const TestModule& m, double s, Index n) const {
    std::vector<double> row;
    for (Index k = 0; k < m.in; ++k) {
      double sum = 0;
      for (Index r = 0; r < m.rank; ++r)
        sum += static_cast<double>(m.b[static_cast<std::size_t>(n * m.rank + r)]) *
               static_cast<double>(m.a[static_cast<std::size_t>(r * m.in + k)]);
      row.push_back(static_cast<double>(values_.at(m.path + ".weight")[static_cast<std::size_t>(n * m.in + k)]) +
                    s * sum);
    }
    return row;
  }
  void set_row(const TestModule& m, Index n, const std::vector<double>& row) {
    for (Index k = 0; k < m.in; ++k)
      values_.at(m.path + ".weight")[static_cast<std::size_t>(n * m.in + k)] =
          static_cast<float>(row[static_cast<std::size_t>(k)]);
  }

 private:
  ModelConfig config_;
  std::map<std::string, std::vector<float>> values_;
  std::vector<std::unique_ptr<TestDirectory>> folders_;
};

double norm_of(const std::vector<double>& row) {
  double squares = 0;
  for (const double x : row) squares += x * x;
  return std::sqrt(squares);
}

// Both are sums in fp32 of a few hundred terms in other orders, through a few layers, and keep keys and values whole.
void expect_near(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  float largest = 0;
  for (const float x : expected) largest = std::max(largest, std::abs(x));
  for (std::size_t i = 0; i < actual.size(); ++i) ASSERT_NEAR(actual[i], expected[i], 2e-5f * largest) << i;
}

ModelConfig biased_config() {
  ModelConfig c = rich_config();
  c.qk_norm = QkNorm::kNone;
  return c;
}

TEST(AdaptersOfAFile, AreTheModelWithWPlusSBA) {
  const TestMachine machine;
  BaseInAFile base(biased_config());
  const TestDirectory folder;
  const TestAdapterOptions options = {.rank = 6, .alpha = 9};
  const std::vector<TestModule> modules = random_adapter(base.config(), options);
  const auto adapter = write_adapter(folder.path() / "a", modules, options);
  const std::vector<TokenId> prompt = random_tokens(kPrompt, base.config().vocab_size, 7);
  const std::vector<float> beside =
      Adapted(machine.context, base.config(), base.write(), {{adapter, 0.5f}}).logits(prompt);
  for (const TestModule& m : modules) {
    for (Index n = 0; n < m.out; ++n) base.set_row(m, n, base.row_with(m, 0.5 * 9 / 6, n));
  }
  expect_near(beside, Adapted(machine.context, base.config(), base.write(), {}).logits(prompt, AdapterList{}));
}

TEST(AdaptersOfAFile, GiveRowsTheirMagnitudesUnderDora) {
  const TestMachine machine;
  BaseInAFile base(biased_config());
  const TestDirectory folder;
  const TestAdapterOptions options = {
      .rank = 6, .alpha = 9, .magnitude = [](const std::string&, Index n) { return 0.5f + static_cast<float>(n % 7); }};
  const std::vector<TestModule> modules = random_adapter(base.config(), options);
  const auto adapter = write_adapter(folder.path() / "a", modules, options);
  const std::vector<TokenId> prompt = random_tokens(kPrompt, base.config().vocab_size, 7);
  const std::vector<float> beside = Adapted(machine.context, base.config(), base.write(), {{adapter}}).logits(prompt);
  for (const TestModule& m : modules) {
    for (Index n = 0; n < m.out; ++n) {
      std::vector<double> row = base.row_with(m, 9.0 / 6, n);
      const double gain = static_cast<double>(options.magnitude(m.path, n)) / norm_of(row);
      for (double& x : row) x *= gain;
      base.set_row(m, n, row);
    }
  }
  expect_near(beside, Adapted(machine.context, base.config(), base.write(), {}).logits(prompt, AdapterList{}));
}

// As a training begins: magnitudes are the norms that are divided by.
TEST(AdaptersOfAFile, OfDoraWithTheBasesOwnNormsLeaveEveryBit) {
  const TestMachine machine;
  BaseInAFile base(biased_config());
  const TestDirectory folder;
  const TestAdapterOptions options = {
      .zero_b = true, .magnitude = [&](const std::string& path, Index n) {
        const auto& values = base.values().at(path + ".weight");
        const Index in = path.ends_with("down_proj") ? base.config().intermediate_size : base.config().hidden_size;
        return row_norm(machine.context.kernels.path,
                        std::span(values).subspan(static_cast<std::size_t>(n * in), static_cast<std::size_t>(in)));
      }};
  const auto adapter = write_adapter(folder.path() / "a", base.config(), options);
  const std::vector<TokenId> prompt = random_tokens(kPrompt, base.config().vocab_size, 7);
  const Adapted model(machine.context, base.config(), base.write(), {{adapter}});
  EXPECT_THAT(model.logits(prompt), BitEqual(model.logits(prompt, AdapterList{})));
}

TEST(AdaptersOfAFile, TakeHalvesAsTheNumbersTheyAre) {
  const TestMachine machine;
  BaseInAFile base(small_config());
  const TestDirectory folder;
  std::vector<TestModule> modules = random_adapter(base.config(), {});
  for (TestModule& m : modules) {
    for (auto* values : {&m.a, &m.b}) {
      for (float& value : *values) value = to_float(to_bf16(value));
    }
  }
  const auto halves = write_adapter(folder.path() / "bf16", modules, {.dtype = DType::kBF16});
  const auto whole = write_adapter(folder.path() / "f32", modules, {});
  const std::vector<TokenId> prompt = random_tokens(20, base.config().vocab_size, 7);
  const auto path = base.write();
  EXPECT_THAT(Adapted(machine.context, base.config(), path, {{halves}}).logits(prompt),
              BitEqual(Adapted(machine.context, base.config(), path, {{whole}}).logits(prompt)));
}

TEST(AdaptersOfAFile, TakeFromTheLedgerWhatThePlanSays) {
  const TestMachine machine;
  const TestDirectory folder;
  const auto adapter = write_adapter(folder.path() / "a", small_config(), {});
  const Adapted model(machine.context, small_config(), DType::kQ4_0, {{adapter}});
  EXPECT_EQ(machine.ledger.snapshot().cell(Tier::kRam, Purpose::kAdapter).reserved,
            model.plan({}).of(Purpose::kAdapter));
}

std::string refusal(const std::filesystem::path& adapter, const ModelConfig& config,
                    ModelFormat base = ModelFormat::kHuggingFace) {
  return error_of([&] { return AdapterSet({{adapter}}, config, base).describe(); });
}

TEST(AdaptersOfAFile, AreRefusedByTheNameOfWhatDoesNotFit) {
  const TestDirectory folder;
  ModelConfig other = small_config();
  other.num_hidden_layers = 3;
  other.layers.assign(3, {});
  const auto deeper = write_adapter(folder.path() / "deeper", other, {});
  EXPECT_THAT(refusal(deeper, small_config()), HasSubstr("module 'model.layers.2."));
  EXPECT_THAT(refusal(deeper, small_config()), HasSubstr("was it trained over another model?"));
  other = small_config();
  other.intermediate_size = 576;
  const auto wider = write_adapter(folder.path() / "wider", other, {});
  EXPECT_THAT(refusal(wider, small_config()), HasSubstr("lora_B.weight': expected 512 outputs"));
  other = small_config();
  other.architecture = "FalconH1ForCausalLM";
  EXPECT_THAT(refusal(write_adapter(folder.path() / "falcon", other, {}), other, ModelFormat::kGguf),
              HasSubstr("unsupported: "));
}

TEST(AdaptersOfAFile, OfDoraAreAlone) {
  const TestDirectory folder;
  const auto dora =
      write_adapter(folder.path() / "a", small_config(), {.magnitude = [](auto&, Index) { return 1.0f; }});
  const auto lora = write_adapter(folder.path() / "b", small_config(), {});
  EXPECT_THAT(error_of([&] {
                return AdapterSet({{dora}, {lora}}, small_config(), ModelFormat::kGguf).describe();
              }),
              HasSubstr("expected no other --adapter beside it"));
}

TEST(AdapterChoices, AreAFolderAndAScale) {
  EXPECT_EQ(parse_adapter_choice("a/b").scale, 1);
  EXPECT_EQ(parse_adapter_choice("a/b:0.25").folder, "a/b");
  EXPECT_EQ(parse_adapter_choice("a/b:0.25").scale, 0.25f);
  EXPECT_EQ(parse_adapter_choice("a:b:-2").folder, "a:b");
  EXPECT_THAT(error_of([] { return parse_adapter_choice("a:b").scale; }), HasSubstr("'b' is no number"));
  EXPECT_THAT(error_of([] { return parse_adapter_choice("a:nan").scale; }), HasSubstr("'nan' is no number"));
}

}  // namespace
}  // namespace jericho
