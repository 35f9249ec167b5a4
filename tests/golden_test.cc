// Whole models against the logits of an independent engine (golden/README.md of the test data tells how they were
// made): float files to the last digits, BF16 and quantized files to what their rounding costs.
#include <cmath>
#include <fstream>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/test_data.h"
#include "formats/test_files.h"
#include "memory/arena.h"
#include "memory/io.h"
#include "support/sha256.h"
#include "support/whole_model.h"

namespace jericho {
namespace {

std::vector<float> read_floats(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<float> values(std::filesystem::file_size(path) / 4);
  in.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * 4));
  JERICHO_CHECK(in.good() && !values.empty(), "{}", path.string());
  return values;
}

nlohmann::json read_json(const std::filesystem::path& path) { return nlohmann::json::parse(std::ifstream(path)); }

// How far `actual` is from `golden`, both [rows, vocab].
struct Distance {
  Distance(std::span<const float> actual, std::span<const float> golden, Index vocab) {
    JERICHO_CHECK(actual.size() == golden.size(), "{} values for {}", actual.size(), golden.size());
    const auto V = static_cast<std::size_t>(vocab);
    rows = static_cast<Index>(golden.size() / V);
    for (std::size_t begin = 0; begin < golden.size(); begin += V)
      add_row(actual.subspan(begin, V), golden.subspan(begin, V));
    mean_kl /= static_cast<double>(rows);
  }
  void add_row(std::span<const float> a, std::span<const float> b) {
    double difference = 0, largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (!std::isfinite(a[i])) difference = std::numeric_limits<double>::infinity();
      difference = std::max(difference, std::abs(double{a[i]} - double{b[i]}));
      largest = std::max(largest, std::abs(double{b[i]}));
    }
    r = std::max(r, difference / largest);
    const Index top = argmax(b);
    same_argmax += argmax(a) == top ? 1 : 0;
    double gap = std::numeric_limits<double>::infinity();  // to the second
    for (std::size_t i = 0; i < b.size(); ++i) {
      if (static_cast<Index>(i) != top) gap = std::min(gap, double{b[static_cast<std::size_t>(top)]} - double{b[i]});
    }
    if (argmax(a) != top) smallest_r_of_argmax = std::max(smallest_r_of_argmax, gap / (2 * largest));
    const double norm_a = log_sum_exp(a), norm_b = log_sum_exp(b);
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double log_p = double{b[i]} - norm_b;
      mean_kl += std::exp(log_p) * (log_p - (double{a[i]} - norm_a));
    }
  }
  static double log_sum_exp(std::span<const float> row) {
    const double most = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const float x : row) sum += std::exp(double{x} - most);
    return most + std::log(sum);
  }
  Index rows = 0;
  double r = 0;  // max over rows of max |a - b| / max |b|
  double mean_kl = 0;
  Index same_argmax = 0;
  double smallest_r_of_argmax = 0;  // with a smaller r, every row would have its argmax
};

std::vector<Index> greedy(Session& session, SequenceId sequence, std::span<const float> last, std::size_t count) {
  std::vector<Index> ids = {argmax(last)};
  while (ids.size() < count) {
    const auto token = static_cast<TokenId>(ids.back());
    const BatchItem item = {sequence, {&token, 1}};
    ids.push_back(argmax(session.forward({&item, 1}).row(0)));
  }
  return ids;
}

constexpr double kFloat = 2e-5;      // fp32 activations
constexpr double kMamba = 1e-4;      // the same, of a recurrence that the engines round differently
constexpr double kBFloat16 = 3e-2;   // activations rounded to bf16
constexpr double kGeluTable = 1e-3;  // against an engine that looks GELU up by halves

struct FloatCase {
  const char* folder;
  const char* form;  // model.gguf or hf
  double tolerance;
  bool near_ties = false;  // rows whose best two are closer than the tolerance may swap them
};
void PrintTo(const FloatCase& c, std::ostream* out) { *out << c.folder << "/" << c.form; }

class GoldenFloatModel : public testing::TestWithParam<FloatCase> {
 protected:
  std::filesystem::path folder() const { return test_data("golden") / GetParam().folder; }
};

TEST_P(GoldenFloatModel, GivesTheLogitsAndTheGreedyTextOfBothSequences) {
  JERICHO_NEEDS_DATA("golden");
  const TestMachine machine;
  const WholeModel model = WholeModel::load(machine.context, folder() / GetParam().form);
  const nlohmann::json tokens = read_json(folder() / "tokens.json");
  const nlohmann::json golden = read_json(folder() / "golden.json");
  Session session(
      machine.context, *model.model,
      model.plan(machine.context, {.context = 64, .sequences = 2, .kv_type = KvType::kF32, .all_logits = true}),
      KvBacking::kPopulate);
  const Index vocab = model.config().vocab_size;
  for (const auto& [name, file] : {std::pair("sequence1", "logits.f32"), std::pair("sequence2", "logits2.f32")}) {
    const auto ids = tokens[name].get<std::vector<TokenId>>();
    const SequenceId sequence = session.open();
    const std::vector<float> logits = logits_of(session, sequence, ids);
    const Distance distance(logits, read_floats(folder() / file), vocab);
    EXPECT_LE(distance.r, GetParam().tolerance) << name;
    EXPECT_LE(distance.mean_kl, 2e-3) << name;
    if (GetParam().near_ties) {
      EXPECT_LE(distance.smallest_r_of_argmax, GetParam().tolerance) << name;
    } else {
      EXPECT_EQ(distance.same_argmax, distance.rows) << name;
    }
    RecordProperty(std::string("r_") + name, fmt::format("{:.2e}", distance.r));
    if (std::string(name) != "sequence1") continue;
    const auto wanted = golden["greedy16_after_sequence1"].get<std::vector<Index>>();
    EXPECT_EQ(greedy(session, sequence, std::span(logits).last(static_cast<std::size_t>(vocab)), wanted.size()),
              wanted);
  }
}

std::string case_name(const testing::TestParamInfo<FloatCase>& info) {
  std::string name = std::string(info.param.folder) + "_" + info.param.form;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(
    , GoldenFloatModel,
    testing::Values(FloatCase{"llama-mha", "model.gguf", kFloat}, FloatCase{"llama-mha", "hf", kFloat},
                    FloatCase{"llama-gqa-tied", "model.gguf", kFloat}, FloatCase{"llama-gqa-tied", "hf", kBFloat16},
                    FloatCase{"qwen2", "model.gguf", kFloat}, FloatCase{"qwen2", "hf", kBFloat16},
                    FloatCase{"qwen3", "model.gguf", kFloat}, FloatCase{"qwen3", "hf", kBFloat16},
                    FloatCase{"mixtral", "model.gguf", kFloat}, FloatCase{"mixtral", "hf", kBFloat16, true},
                    FloatCase{"gemma2", "model.gguf", kGeluTable}, FloatCase{"gemma2", "hf", kBFloat16},
                    FloatCase{"mamba", "model.gguf", kMamba}, FloatCase{"mamba", "hf", kMamba},
                    FloatCase{"falcon-h1", "model.gguf", kFloat}, FloatCase{"falcon-h1", "hf", kBFloat16}),
    case_name);

// The model of a Hugging Face directory with every tensor as F32: the same values, and no activation rounded to bf16.
void write_as_f32(const std::filesystem::path& from, const TestDirectory& to) {
  const std::unique_ptr<ModelFile> file = open_model(from);
  SafetensorsWriter writer;
  for (const TensorInfo& tensor : file->tensors()) writer.add_tensor(tensor.name, DType::kF32, tensor.shape);
  std::ostringstream out;
  writer.begin(out);
  for (const TensorInfo& tensor : file->tensors()) {
    std::ifstream in(file->files()[static_cast<std::size_t>(tensor.file)], std::ios::binary);
    std::vector<char> bytes(tensor_bytes(tensor.dtype, tensor.shape).size());
    in.seekg(tensor.offset);
    in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    Index count = 1;
    for (const Index extent : tensor.shape) count *= extent;
    std::vector<float> values(static_cast<std::size_t>(count));
    dequantize_file_row(tensor.dtype, count, reinterpret_cast<const std::byte*>(bytes.data()), values.data());
    writer.append(std::as_bytes(std::span(values)));
  }
  to.put("model.safetensors", out.str());
  to.put("config.json", file->config().dump());
}

TEST(GoldenGemma2, IsTheExactFunctionInBothForms) {
  JERICHO_NEEDS_DATA("golden/gemma2");
  const std::filesystem::path folder = test_data("golden/gemma2");
  const TestDirectory widened;
  write_as_f32(folder / "hf", widened);
  const auto ids = read_json(folder / "tokens.json")["sequence1"].get<std::vector<TokenId>>();
  for (const std::filesystem::path& path : {folder / "model.gguf", widened.path()}) {
    const TestMachine machine;
    const WholeModel model = WholeModel::load(machine.context, path);
    Session session(machine.context, *model.model,
                    model.plan(machine.context, {.context = 64, .kv_type = KvType::kF32, .all_logits = true}),
                    KvBacking::kPopulate);
    const std::vector<float> logits = logits_of(session, session.open(), ids);
    const Distance exact(logits, read_floats(folder / "logits_exact.f32"), model.config().vocab_size);
    EXPECT_LE(exact.r, kFloat) << path;
    EXPECT_EQ(exact.same_argmax, exact.rows) << path;
    EXPECT_LE(Distance(logits, read_floats(folder / "logits.f32"), model.config().vocab_size).r, kGeluTable) << path;
    RecordProperty(path == widened.path() ? "r_hf_as_f32" : "r_gguf", fmt::format("{:.2e}", exact.r));
  }
}

TEST(GoldenFalconH1, IsTheSameToTheLastDigitsInHuggingFacesForm) {
  JERICHO_NEEDS_DATA("golden/falcon-h1");
  const std::filesystem::path folder = test_data("golden/falcon-h1");
  const TestDirectory widened;
  write_as_f32(folder / "hf", widened);
  const auto ids = read_json(folder / "tokens.json")["sequence1"].get<std::vector<TokenId>>();
  const TestMachine machine;
  const WholeModel model = WholeModel::load(machine.context, widened.path());
  Session session(machine.context, *model.model,
                  model.plan(machine.context, {.context = 64, .kv_type = KvType::kF32, .all_logits = true}),
                  KvBacking::kPopulate);
  const std::vector<float> logits = logits_of(session, session.open(), ids);
  const Distance distance(logits, read_floats(folder / "logits.f32"), model.config().vocab_size);
  EXPECT_LE(distance.r, kFloat);
  EXPECT_EQ(distance.same_argmax, distance.rows);
  RecordProperty("r_hf_as_f32", fmt::format("{:.2e}", distance.r));
}

class GoldenStories260K : public testing::TestWithParam<const char*> {};

TEST_P(GoldenStories260K, GivesTheLogitsAndTwoHundredGreedyTokens) {
  JERICHO_NEEDS_DATA("golden/stories260K");
  const std::filesystem::path folder = test_data("golden/stories260K");
  const TestMachine machine;
  const WholeModel model = WholeModel::load(machine.context, folder / GetParam());
  const nlohmann::json golden = read_json(folder / "golden.json");
  Session session(
      machine.context, *model.model,
      model.plan(machine.context, {.context = 256, .sequences = 2, .kv_type = KvType::kF32, .all_logits = true}),
      KvBacking::kPopulate);
  const Index vocab = model.config().vocab_size;

  const auto ids = golden["logits"]["tokens"].get<std::vector<TokenId>>();
  const Distance distance(logits_of(session, session.open(), ids), read_floats(folder / "logits.f32"), vocab);
  EXPECT_EQ(distance.rows, 64);
  EXPECT_LE(distance.r, kFloat);
  EXPECT_EQ(distance.same_argmax, distance.rows);

  const auto prompt = golden["prompt_ids"].get<std::vector<TokenId>>();
  const SequenceId sequence = session.open();
  const auto wanted = golden["greedy200"].get<std::vector<Index>>();
  ASSERT_EQ(wanted.size(), 200u);
  EXPECT_EQ(greedy(session, sequence, session.prefill(sequence, prompt), wanted.size()), wanted);
}

INSTANTIATE_TEST_SUITE_P(, GoldenStories260K, testing::Values("model.gguf", "hf"),
                         [](const auto& test) { return std::string(test.index == 0 ? "gguf" : "hf"); });

class GoldenQuantizedModel : public testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path file(const std::string& ending) const {
    return test_data("golden/quant") / (GetParam() + ending);
  }
  nlohmann::json golden() const { return read_json(test_data("golden/quant/golden.json"))[GetParam()]; }
};

// The digest of a tensor as the file keeps it, computed from what the model holds in memory: rows of q and k lie in
// rotation pairs in the file, row i + j D/2 of a head at 2 i + j.
std::string digest_of(const WeightSpec& spec, const WeightView& view) {
  Sha256 digest;
  if (const auto* const* vector = std::get_if<std::span<const float>*>(&view)) {
    digest.update(std::as_bytes(**vector));
    return digest.hex_digest();
  }
  const PackedMatrix& matrix = *std::get<PackedMatrix*>(view);
  std::vector<float> values(static_cast<std::size_t>(matrix.cols));
  for (Index row = 0; row < matrix.rows; ++row) {
    const Index D = spec.gguf.pairs.count;
    const Index held = D == 0 ? row : row / D * D + row % D / 2 + row % 2 * (D / 2);
    dequantize_row(matrix, held, values.data());
    digest.update(std::as_bytes(std::span(values)));
  }
  return digest.hex_digest();
}

TEST_P(GoldenQuantizedModel, HoldsEveryTensorBitForBit) {
  JERICHO_NEEDS_DATA("golden/quant");
  const TestMachine machine;
  const auto model_file = open_model(file(".gguf"));
  const ModelConfig config = read_config(*model_file);
  const WeightLayout layout = WeightLayout::of_file(config, *model_file);
  Ledger& ledger = machine.context.ledger;
  Arena arena(ledger.require(Tier::kRam, Purpose::kWeightsResident, arena_bytes(layout.bytes())));
  const Arena staging(ledger.require(Tier::kRam, Purpose::kWeightsStaging,
                                     arena_bytes(ModelWeights::staging_bytes(layout, machine.pool.threads()))));
  const auto io = make_io_backend();
  const ModelWeights weights =
      ModelWeights::load(machine.context, config, layout, *model_file, std::move(arena), *io, staging.bytes(), {}, {});
  const nlohmann::json tensors = golden()["tensors"];
  std::size_t compared = 0;
  DecoderWeights views = weights.views();
  visit_weights(config, views, [&](const WeightSpec& spec, const WeightView& view) {
    const std::string& name = spec.name(ModelFormat::kGguf);
    EXPECT_EQ(digest_of(spec, view), tensors.at(name)["sha256_f32"].get<std::string>()) << name;
    ++compared;
  });
  EXPECT_EQ(compared, tensors.size());
}

TEST_P(GoldenQuantizedModel, StaysNearTheLogitsOfItsDequantizedWeights) {
  JERICHO_NEEDS_DATA("golden/quant");
  const TestMachine machine;
  const WholeModel model = WholeModel::load(machine.context, file(".gguf"));
  Session session(machine.context, *model.model,
                  model.plan(machine.context, {.context = 32, .kv_type = KvType::kF32, .all_logits = true}),
                  KvBacking::kPopulate);
  const auto ids = read_json(test_data("golden/quant/tokens.json"))["sequence1"].get<std::vector<TokenId>>();
  const Distance distance(logits_of(session, session.open(), ids), read_floats(file(".logits_dequant.f32")),
                          model.config().vocab_size);
  EXPECT_LE(distance.r, 8e-2);
  EXPECT_LE(distance.mean_kl, 5e-3);
  EXPECT_GE(distance.same_argmax * 10, distance.rows * 8);
  RecordProperty("r", fmt::format("{:.2e}", distance.r));
  RecordProperty("mean_kl", fmt::format("{:.2e}", distance.mean_kl));
  RecordProperty("same_argmax", std::to_string(distance.same_argmax) + " of " + std::to_string(distance.rows));
}

INSTANTIATE_TEST_SUITE_P(, GoldenQuantizedModel,
                         testing::Values("Q4_0", "Q4_1", "Q8_0", "Q4_K_S", "Q6_K", "TQ2_0", "BF16"),
                         [](const auto& test) { return std::string(test.param); });

TEST(Sha256, GivesTheDigestsOfItsStandard) {
  Sha256 empty, abc, two_blocks;
  abc.update(std::as_bytes(std::span("abc", 3)));
  two_blocks.update(std::as_bytes(std::span("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56)));
  EXPECT_EQ(empty.hex_digest(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(abc.hex_digest(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(two_blocks.hex_digest(), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

}  // namespace
}  // namespace jericho
