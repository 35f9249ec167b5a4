// Gradients of whole models against central differences of a decoder written out in double, and what a step promises:
// the same bits for any number of threads, any cut into micro-batches, and blocks that are computed again.
#include "models/training_pass.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "models/test_models.h"
#include "ops/training_rows.h"

namespace jericho {
namespace {

ModelConfig tiny_config() {
  ModelConfig c = small_config();
  c.hidden_size = 32;
  c.intermediate_size = 48;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = c.rope.dims = 8;
  c.vocab_size = 41;
  return c;
}

// What the dense families add: biases, norms of q and k, a window, a head of its own; or layers that run twice.
ModelConfig qwen_config() {
  ModelConfig c = tiny_config();
  c.tie_word_embeddings = false;
  c.attention_qkv_bias = true;
  c.qk_norm = QkNorm::kHead;
  c.layers[1].window = 5;
  return c;
}
ModelConfig shared_config() {
  ModelConfig c = tiny_config();
  c.layer_passes = 2;
  return c;
}

struct Data {
  Index sequences = 0, tokens = 0;
  std::vector<std::int32_t> ids{}, targets{};
  std::vector<AttentionSegment> segments{};
  Index trained = 0;

  [[nodiscard]] MicroBatch batch(Index first, Index count, std::vector<AttentionSegment>& kept) const {
    const Index begin = first * tokens, rows = count * tokens;
    kept.clear();
    for (AttentionSegment segment : segments) {
      if (segment.first < begin || segment.first >= begin + rows) continue;
      segment.first -= begin;
      kept.push_back(segment);
    }
    const auto piece = [&](const std::vector<std::int32_t>& x) {
      return std::span(x).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(rows));
    };
    return {.sequences = count,
            .sequence_tokens = tokens,
            .tokens = piece(ids),
            .targets = piece(targets),
            .segments = kept,
            .factor = 1.0f / static_cast<float>(trained)};
  }
};

// Sequences of two documents and one, the last tokens of one belonging to none.
Data random_data(const ModelConfig& c, Index sequences, Index tokens) {
  Data data{.sequences = sequences, .tokens = tokens};
  data.ids = random_tokens(sequences * tokens, c.vocab_size, 1);
  data.targets = random_tokens(sequences * tokens, c.vocab_size, 2);
  for (Index s = 0; s < sequences; ++s) {
    const Index begin = s * tokens;
    data.segments.push_back({begin, tokens / 2 + s});
    data.segments.push_back({begin + tokens / 2 + s, tokens - tokens / 2 - s - (s % 2)});
    if (s % 2 == 1) data.targets[static_cast<std::size_t>(begin + tokens - 1)] = -100;
  }
  data.targets[3] = -100;
  data.trained =
      static_cast<Index>(std::count_if(data.targets.begin(), data.targets.end(), [](auto y) { return y >= 0; }));
  return data;
}

std::vector<float> random_weights(const TrainingLayout& layout) {
  std::vector<float> weights(static_cast<std::size_t>(layout.weight_bytes().count / 4));
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0.0f, 0.15f);
  for (const TrainedTensor& t : layout.tensors()) {
    for (Index i = 0; i < t.size(); ++i)
      weights[static_cast<std::size_t>(t.offset.count / 4 + i)] = t.neutral * !t.is_matrix() + normal(random);
  }
  return weights;
}

std::vector<StoredRows> rows_of(const TrainingLayout& layout, const std::vector<float>& weights) {
  return layout.weights(std::as_bytes(std::span(weights)));
}

struct Result {
  double loss = 0;
  std::vector<double> losses{};
  std::vector<float> gradients{};  // of all uses
  std::vector<float> logits{};
};

struct How {
  int threads = 2;
  Index at_once = 100;  // sequences of a micro-batch
  Recompute recompute{};
  DType compute = DType::kF32;
  bool with_gradients = true;
  Index logit_tokens = 256;
};

class Block {
 public:
  // Memory begins as NaN: nothing may be read before it is written.
  explicit Block(Bytes size) : bytes_(size.size() + 64, std::byte{0xff}) {}
  std::span<std::byte> get() {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
    return std::span(bytes_).subspan((64 - address % 64) % 64, bytes_.size() - 64);
  }

 private:
  std::vector<std::byte> bytes_;
};

Result run(const ModelConfig& c, const TrainingLayout& layout, const std::vector<float>& weights, const Data& data,
           const How& how) {
  const TestMachine machine(how.threads);
  const Index at_once = std::min(how.at_once, data.sequences);
  const TrainingPassOptions options = {.sequences = at_once,
                                       .sequence_tokens = data.tokens,
                                       .compute = how.compute,
                                       .recompute = how.recompute,
                                       .threads = how.threads,
                                       .logit_tokens = how.logit_tokens};
  const TrainingPass pass(c, layout, options);
  const TrainingMemory memory = TrainingPass::memory(c, layout, options);
  Block saved(memory.saved), live(memory.live), logits(memory.logits);
  const TrainingPass::Memory blocks = {saved.get(), live.get(), logits.get()};
  Result result;
  result.losses.resize(data.ids.size());
  if (how.with_gradients) result.gradients.resize(static_cast<std::size_t>(layout.gradient_values()));
  result.logits.resize(data.ids.size() * static_cast<std::size_t>(c.vocab_size));
  const std::vector<StoredRows> rows = rows_of(layout, weights);
  GradientArena sink(layout, result.gradients);
  std::vector<AttentionSegment> segments;
  for (Index first = 0; first < data.sequences; first += at_once) {
    const Index count = std::min(at_once, data.sequences - first);
    const MicroBatch batch = data.batch(first, count, segments);
    const auto losses =
        std::span(result.losses).subspan(static_cast<std::size_t>(first * data.tokens), batch.tokens.size());
    pass.run(machine.context, batch, rows, how.with_gradients ? &sink : nullptr, blocks, losses);
    pass.logits(machine.context, batch, rows, blocks, 0,
                {result.logits.data() + first * data.tokens * c.vocab_size, count * data.tokens, c.vocab_size});
  }
  for (const double loss : result.losses) result.loss += loss;
  result.loss /= static_cast<double>(data.trained);
  return result;
}

// The decoder in double, as the papers write it.
class PlainDecoder {
 public:
  PlainDecoder(const ModelConfig& config, const TrainingLayout& layout, const Data& data)
      : c_(config), layout_(layout), data_(data) {}

  double loss(const std::vector<double>& weights) const {
    double sum = 0;
    for (const AttentionSegment& segment : data_.segments) sum += segment_loss(weights, segment);
    return sum / static_cast<double>(data_.trained);
  }

 private:
  using Rows = std::vector<std::vector<double>>;

  [[nodiscard]] static Rows linear(const std::vector<double>& w, const TrainedTensor& t, const Rows& x) {
    Rows y(x.size(), std::vector<double>(static_cast<std::size_t>(t.rows)));
    for (std::size_t i = 0; i < x.size(); ++i) {
      for (Index o = 0; o < t.rows; ++o) {
        for (Index j = 0; j < t.cols; ++j) {
          y[i][static_cast<std::size_t>(o)] +=
              x[i][static_cast<std::size_t>(j)] * w[static_cast<std::size_t>(t.offset.count / 4 + o * t.cols + j)];
        }
      }
    }
    return y;
  }
  void norm(const std::vector<double>& w, const TrainedTensor& t, std::vector<double>& x) const {
    for (std::size_t at = 0; at < x.size(); at += static_cast<std::size_t>(t.cols)) {
      double squares = 0;
      for (Index i = 0; i < t.cols; ++i) squares += std::pow(x[at + static_cast<std::size_t>(i)], 2);
      const double r = 1 / std::sqrt(squares / static_cast<double>(t.cols) + static_cast<double>(c_.rms_norm_eps));
      for (Index i = 0; i < t.cols; ++i)
        x[at + static_cast<std::size_t>(i)] *= r * w[static_cast<std::size_t>(t.offset.count / 4 + i)];
    }
  }
  void rotate(Rows& x) const {
    for (std::size_t p = 0; p < x.size(); ++p) {
      const auto D = static_cast<std::size_t>(c_.head_dim), half = D / 2;
      for (std::size_t head = 0; head < x[p].size(); head += D) {
        for (std::size_t i = 0; i < half; ++i) {
          const double angle =
              static_cast<double>(p) * std::pow(c_.rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(D));
          const double a = x[p][head + i], b = x[p][head + half + i];
          x[p][head + i] = a * std::cos(angle) - b * std::sin(angle);
          x[p][head + half + i] = b * std::cos(angle) + a * std::sin(angle);
        }
      }
    }
  }
  [[nodiscard]] Rows attend(const Rows& q, const Rows& k, const Rows& v, Index window) const {
    const auto D = static_cast<std::size_t>(c_.head_dim);
    const auto group = static_cast<std::size_t>(c_.num_attention_heads / c_.num_key_value_heads);
    Rows out(q.size(), std::vector<double>(q[0].size()));
    for (std::size_t h = 0; h < q[0].size() / D; ++h) {
      const std::size_t kv = h / group * D;
      for (std::size_t i = 0; i < q.size(); ++i) {
        const std::size_t begin =
            window > 0 && i + 1 > static_cast<std::size_t>(window) ? i + 1 - static_cast<std::size_t>(window) : 0;
        double total = 0;
        for (std::size_t j = begin; j <= i; ++j) {
          double s = 0;
          for (std::size_t d = 0; d < D; ++d) s += q[i][h * D + d] * k[j][kv + d];
          const double p = std::exp(s / std::sqrt(static_cast<double>(D)));
          total += p;
          for (std::size_t d = 0; d < D; ++d) out[i][h * D + d] += p * v[j][kv + d];
        }
        for (std::size_t d = 0; d < D; ++d) out[i][h * D + d] /= total;
      }
    }
    return out;
  }
  static void add(const Rows& dx, Rows& x) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      for (std::size_t j = 0; j < x[i].size(); ++j) x[i][j] += dx[i][j];
    }
  }
  void block(const std::vector<double>& w, Index index, Rows& x) const {
    const TrainedLayer& layer = layout_.layers()[static_cast<std::size_t>(index)];
    const auto t = [&](Index i) -> const TrainedTensor& { return layout_.tensor(i); };
    Rows n = x;
    for (auto& row : n) norm(w, t(layer.attention_norm), row);
    Rows q = linear(w, t(layer.q), n), k = linear(w, t(layer.k), n), v = linear(w, t(layer.v), n);
    const auto bias = [&](Index b, Rows& y) {
      if (b < 0) return;
      for (auto& row : y) {
        for (std::size_t i = 0; i < row.size(); ++i) row[i] += w[static_cast<std::size_t>(t(b).offset.count / 4) + i];
      }
    };
    bias(layer.q_bias, q), bias(layer.k_bias, k), bias(layer.v_bias, v);
    if (layer.q_norm >= 0) {
      for (auto& row : q) norm(w, t(layer.q_norm), row);
      for (auto& row : k) norm(w, t(layer.k_norm), row);
    }
    rotate(q), rotate(k);
    add(linear(w, t(layer.o), attend(q, k, v, c_.layers[static_cast<std::size_t>(index)].window)), x);
    n = x;
    for (auto& row : n) norm(w, t(layer.feed_forward_norm), row);
    Rows gate = linear(w, t(layer.gate), n);
    const Rows up = linear(w, t(layer.up), n);
    for (std::size_t i = 0; i < gate.size(); ++i) {
      for (std::size_t j = 0; j < gate[i].size(); ++j) gate[i][j] *= up[i][j] / (1 + std::exp(-gate[i][j]));
    }
    add(linear(w, t(layer.down), gate), x);
  }
  [[nodiscard]] double segment_loss(const std::vector<double>& w, const AttentionSegment& segment) const {
    Rows x;
    const TrainedTensor& table = layout_.tensor(layout_.embedding());
    for (Index i = segment.first; i < segment.first + segment.rows; ++i) {
      const double* row = w.data() + table.offset.count / 4 + data_.ids[static_cast<std::size_t>(i)] * table.cols;
      x.emplace_back(row, row + table.cols);
    }
    for (Index layer = 0; layer < c_.num_hidden_layers; ++layer) {
      for (Index pass = 0; pass < c_.layer_passes; ++pass) block(w, layer, x);
    }
    for (auto& row : x) norm(w, layout_.tensor(layout_.norm()), row);
    const Rows z = linear(w, layout_.tensor(layout_.head()), x);
    double sum = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
      const std::int32_t y = data_.targets[static_cast<std::size_t>(segment.first) + i];
      if (y < 0) continue;
      double total = 0;
      for (const double v : z[i]) total += std::exp(v);
      sum += std::log(total) - z[i][static_cast<std::size_t>(y)];
    }
    return sum;
  }

  const ModelConfig& c_;
  const TrainingLayout& layout_;
  const Data& data_;
};

using NamedConfig = std::pair<const char*, ModelConfig (*)()>;
class EveryModel : public testing::TestWithParam<NamedConfig> {};
INSTANTIATE_TEST_SUITE_P(Models, EveryModel,
                         testing::Values(NamedConfig{"Llama", tiny_config}, NamedConfig{"Qwen", qwen_config},
                                         NamedConfig{"SharedLayers", shared_config}),
                         [](const auto& test) { return std::string(test.param.first); });

TEST_P(EveryModel, HasTheSlopesOfTheDecoderInDouble) {
  const ModelConfig c = GetParam().second();
  const TrainingLayout layout(c);
  const Data data = random_data(c, 2, 16);
  const std::vector<float> weights = random_weights(layout);
  const Result result = run(c, layout, weights, data, {});
  const PlainDecoder plain(c, layout, data);
  std::vector<double> w(weights.begin(), weights.end());
  EXPECT_NEAR(result.loss, plain.loss(w), 1e-5);
  std::mt19937 random(7);
  for (const TrainedTensor& t : layout.tensors()) {
    double apart = 0, size = 0;
    for (int n = 0; n < 12; ++n) {
      const auto i = static_cast<std::size_t>(static_cast<Index>(random()) % t.size());
      double gradient = 0;
      for (const Index use : t.gradients)
        gradient += static_cast<double>(result.gradients[static_cast<std::size_t>(use) + i]);
      double& at = w[static_cast<std::size_t>(t.offset.count / 4) + i];
      const double before = at, h = 1e-5;
      at = before + h;
      const double above = plain.loss(w);
      at = before - h;
      const double slope = (above - plain.loss(w)) / (2 * h);
      at = before;
      apart += std::pow(gradient - slope, 2);
      size += std::pow(slope, 2);
    }
    // fp32 sums of some hundred terms: 1e-4 of the gradient's size.
    EXPECT_LE(std::sqrt(apart), 1e-4 * std::sqrt(size) + 1e-7) << t.name;
  }
}

TEST_P(EveryModel, GivesTheSameBitsForAnyThreadsMicroBatchAndRecompute) {
  const ModelConfig c = GetParam().second();
  const TrainingLayout layout(c);
  const Data data = random_data(c, 4, 70);
  const std::vector<float> weights = random_weights(layout);
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    const Result base = run(c, layout, weights, data, {.threads = 1, .compute = compute});
    for (const int threads : {1, 2, 4}) {
      for (const Index at_once : {1, 3, 4}) {
        for (const Recompute recompute : {Recompute::none(), Recompute::blocks(), Recompute{.kept = 2},
                                          Recompute::inputs_too(2), Recompute::inputs_too(3)}) {
          const Result other =
              run(c, layout, weights, data,
                  {.threads = threads, .at_once = at_once, .recompute = recompute, .compute = compute});
          EXPECT_EQ(other.losses, base.losses);
          EXPECT_EQ(other.gradients, base.gradients) << threads << " threads, " << at_once << " sequences at once";
        }
      }
    }
  }
}

TEST_P(EveryModel, HasTheSameLossesWithoutGradients) {
  const ModelConfig c = GetParam().second();
  const TrainingLayout layout(c);
  const Data data = random_data(c, 2, 300);
  const std::vector<float> weights = random_weights(layout);
  EXPECT_EQ(run(c, layout, weights, data, {.with_gradients = false}).losses, run(c, layout, weights, data, {}).losses);
}

TEST_P(EveryModel, InBf16StaysNearFp32) {
  const ModelConfig c = GetParam().second();
  const TrainingLayout layout(c);
  const Data data = random_data(c, 4, 64);
  const std::vector<float> weights = random_weights(layout);
  const Result exact = run(c, layout, weights, data, {}),
               rounded = run(c, layout, weights, data, {.compute = DType::kBF16});
  EXPECT_NEAR(rounded.loss, exact.loss, 0.005 * exact.loss);
  double apart = 0, size = 0;
  for (std::size_t i = 0; i < exact.gradients.size(); ++i) {
    apart += std::pow(exact.gradients[i] - rounded.gradients[i], 2);
    size += std::pow(exact.gradients[i], 2);
  }
  EXPECT_LT(std::sqrt(apart / size), 0.03);  // operands are rounded to 8 bits, sums are not
}

std::vector<double> run_into(GradientSink& sink, const ModelConfig& c, const TrainingLayout& layout,
                             std::span<const StoredRows> weights, const Data& data, const How& how) {
  const TestMachine machine(how.threads);
  const Index at_once = std::min(how.at_once, data.sequences);
  const TrainingPassOptions options = {.sequences = at_once,
                                       .sequence_tokens = data.tokens,
                                       .compute = how.compute,
                                       .recompute = how.recompute,
                                       .threads = how.threads,
                                       .decodes = true};
  const TrainingPass pass(c, layout, options);
  const TrainingMemory memory = TrainingPass::memory(c, layout, options);
  Block saved(memory.saved), live(memory.live), logits(memory.logits);
  std::vector<double> losses(data.ids.size());
  std::vector<AttentionSegment> segments;
  for (Index first = 0; first < data.sequences; first += at_once) {
    const MicroBatch batch = data.batch(first, std::min(at_once, data.sequences - first), segments);
    pass.run(machine.context, batch, weights, &sink, {saved.get(), live.get(), logits.get()},
             std::span(losses).subspan(static_cast<std::size_t>(first * data.tokens), batch.tokens.size()));
  }
  return losses;
}

// Ruins every weight whose gradient is complete, and takes none after that.
class Ruin final : public GradientSink {
 public:
  Ruin(const TrainingLayout& layout, std::span<float> weights, std::span<float> gradients)
      : layout_(layout), weights_(weights), arena_(layout, gradients) {}
  std::optional<MatrixView<float>> place(Index tensor, Index use) override {
    EXPECT_EQ(ruined_.count(tensor), 0u) << layout_.tensor(tensor).name;
    return arena_.place(tensor, use);
  }
  void complete(Index tensor) override {
    EXPECT_TRUE(ruined_.insert(tensor).second) << layout_.tensor(tensor).name;
    const MatrixView<float> w = layout_.weight(std::as_writable_bytes(weights_), tensor);
    std::fill_n(w.data(), layout_.tensor(tensor).size(), std::nanf(""));
  }
  [[nodiscard]] std::size_t completed() const { return ruined_.size(); }

 private:
  const TrainingLayout& layout_;
  std::span<float> weights_;
  GradientArena arena_;
  std::set<Index> ruined_{};
};

TEST_P(EveryModel, ReadsNoWeightWhoseGradientIsComplete) {
  const ModelConfig c = GetParam().second();
  const TrainingLayout layout(c);
  const Data data = random_data(c, 2, 70);
  const std::vector<float> weights = random_weights(layout);
  for (const Recompute recompute : {Recompute::none(), Recompute::blocks(), Recompute::inputs_too(2)}) {
    const How how = {.recompute = recompute};
    std::vector<float> ruined = weights, gradients(static_cast<std::size_t>(layout.gradient_values()));
    Ruin sink(layout, ruined, gradients);
    run_into(sink, c, layout, rows_of(layout, ruined), data, how);
    EXPECT_EQ(sink.completed(), layout.tensors().size());
    EXPECT_EQ(gradients, run(c, layout, weights, data, how).gradients);
  }
}

// Notes who is asked for.
class Order final : public GradientSink {
 public:
  Order(const TrainingLayout& layout, std::span<float> gradients) : arena_(layout, gradients) {}
  std::optional<MatrixView<float>> place(Index tensor, Index use) override {
    asked.emplace_back(tensor, use);
    return arena_.place(tensor, use);
  }
  void complete(Index tensor) override {
    EXPECT_EQ(std::count(asked.begin(), asked.end(), std::pair(tensor, Index{0})), 1);
  }
  std::vector<std::pair<Index, Index>> asked{};

 private:
  GradientArena arena_;
};

TEST_P(EveryModel, AsksForGradientsInTheOrderThatIsPlannedWith) {
  const ModelConfig c = GetParam().second();
  const TrainingLayout layout(c);
  const Data data = random_data(c, 2, 16);
  const std::vector<float> weights = random_weights(layout);
  std::vector<float> gradients(static_cast<std::size_t>(layout.gradient_values()));
  Order sink(layout, gradients);
  run_into(sink, c, layout, rows_of(layout, weights), data, {});
  std::vector<std::pair<Index, Index>> planned;
  for (const GradientUse& use : TrainingPass::gradient_order(c, layout)) planned.emplace_back(use.tensor, use.use);
  EXPECT_EQ(sink.asked, planned);
}

// Has no place for every second tensor.
class Frozen final : public GradientSink {
 public:
  Frozen(const TrainingLayout& layout, std::span<float> gradients, Index odd) : arena_(layout, gradients), odd_(odd) {}
  [[nodiscard]] bool trains(Index tensor) const { return tensor % 2 == odd_; }
  std::optional<MatrixView<float>> place(Index tensor, Index use) override {
    return trains(tensor) ? arena_.place(tensor, use) : std::nullopt;
  }
  void complete(Index tensor) override { EXPECT_TRUE(trains(tensor)); }

 private:
  GradientArena arena_;
  Index odd_;
};

TEST_P(EveryModel, GivesTrainedTensorsTheSameGradientsWhereOthersAreFrozen) {
  const ModelConfig c = GetParam().second();
  const TrainingLayout layout(c);
  const Data data = random_data(c, 2, 70);
  const std::vector<float> weights = random_weights(layout);
  const std::vector<float> all = run(c, layout, weights, data, {}).gradients;
  for (const Index odd : {0, 1}) {
    std::vector<float> some(all.size());
    Frozen sink(layout, some, odd);
    run_into(sink, c, layout, rows_of(layout, weights), data, {});
    for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
      const TrainedTensor& t = layout.tensors()[i];
      for (const Index use : t.gradients) {
        for (Index k = use; k < use + t.size(); ++k) {
          const float expected = sink.trains(static_cast<Index>(i)) ? all[static_cast<std::size_t>(k)] : 0.0f;
          ASSERT_EQ(some[static_cast<std::size_t>(k)], expected) << t.name;
        }
      }
    }
  }
}

TEST_P(EveryModel, ReadsStoredWeightsAsTheirDecodedValues) {
  const ModelConfig c = GetParam().second();
  const TrainingLayout layout(c);
  const Data data = random_data(c, 2, 70);
  for (const DType type : {DType::kBF16, DType::kQ8_0, DType::kNF4}) {
    std::vector<float> weights = random_weights(layout);
    std::vector<std::vector<std::byte>> bytes;
    std::vector<StoredRows> stored = rows_of(layout, weights);
    for (std::size_t i = 0; i < stored.size(); ++i) {
      const TrainedTensor& t = layout.tensors()[i];
      if (!t.is_matrix()) continue;
      auto& rows = bytes.emplace_back(stored_row_bytes(type, t.cols).size() * static_cast<std::size_t>(t.rows));
      std::mt19937 random(static_cast<unsigned>(i));
      for (std::byte& byte : rows) byte = static_cast<std::byte>(random() & 0x2fu);  // scales and halves below one
      stored[i] = StoredRows(rows.data(), type, t.rows, t.cols);
      for (Index r = 0; r < t.rows; ++r) {
        decode_columns(file_row_kernels_for(chosen_cpu_path()), stored[i], r, 0, t.cols,
                       weights.data() + t.offset.count / 4 + r * t.cols);
      }
    }
    for (const DType compute : {DType::kF32, DType::kBF16}) {
      const Result decoded = run(c, layout, weights, data, {.compute = compute});
      std::vector<float> gradients(decoded.gradients.size());
      GradientArena sink(layout, gradients);
      EXPECT_EQ(run_into(sink, c, layout, stored, data, {.compute = compute}), decoded.losses) << name(type);
      EXPECT_EQ(gradients, decoded.gradients) << name(type);
    }
  }
}

TEST(TrainingPass, FillsTheLogitsChunkTwiceWithoutChangingABit) {
  // 600 tokens are three chunks of logits; one sequence at a time they are one each.
  const ModelConfig c = tiny_config();
  const TrainingLayout layout(c);
  const Data data = random_data(c, 3, 200);
  const std::vector<float> weights = random_weights(layout);
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    const Result all = run(c, layout, weights, data, {.compute = compute});
    EXPECT_EQ(run(c, layout, weights, data, {.at_once = 1, .compute = compute}).gradients, all.gradients);
    EXPECT_EQ(run(c, layout, weights, data, {.compute = compute, .logit_tokens = 1024}).gradients, all.gradients);
  }
}

TEST(TrainingLayout, NamesWhatCannotBeTrained) {
  for (const auto& [config, what] : {std::pair{experts_config(), "experts"},
                                     {mamba_config(), "state spaces"},
                                     {latent_config(), "latent attention"},
                                     {capped_config(), "rotation"}}) {
    try {
      const TrainingLayout layout(config);
      FAIL() << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
      EXPECT_THAT(error.what(), testing::HasSubstr(what));
    }
  }
}

TEST(TrainingLayout, HasAGradientOfEachUse) {
  const TrainingLayout layout(shared_config());
  EXPECT_EQ(layout.tensor(layout.embedding()).gradients.size(), 2u);  // embedding and head
  EXPECT_EQ(layout.tensor(layout.layers()[1].q).gradients.size(), 2u);
  EXPECT_EQ(layout.tensor(layout.norm()).gradients.size(), 1u);
  EXPECT_EQ(layout.head(), layout.embedding());
}

// A base of these weights, and adapters beside it that are drawn at random; gains as the trainer computes them.
struct AdaptedWeights {
  AdaptedWeights(const ModelConfig& config, const AdapterTraining& training)
      : base_layout(config), layout(config, {}, training), base(random_weights(base_layout)) {
    values.resize(static_cast<std::size_t>(layout.weight_bytes().count / 4));
    std::mt19937 random(5);
    std::normal_distribution<float> normal(0.0f, 0.2f);
    for (const TrainedTensor& t : layout.tensors()) {
      if (t.fate == TensorFate::kFrozen) continue;
      for (Index i = 0; i < t.size(); ++i) {
        values[static_cast<std::size_t>(t.offset.count / 4 + i)] =
            t.is_matrix() ? normal(random) : 1.5f + 0.2f * static_cast<float>(i % 7);
      }
    }
    for (std::size_t i = 0; i < layout.model_tensors(); ++i) {
      const TrainedAdapter* adapter = layout.adapter(static_cast<Index>(i));
      if (adapter == nullptr || adapter->gain < 0) continue;
      for (Index n = 0; n < layout.tensors()[i].rows; ++n)
        at(adapter->gain, n) = at(adapter->magnitude, n) / norm(i, n);
    }
  }
  float& at(Index tensor, Index element) {
    return values[static_cast<std::size_t>(layout.tensor(tensor).offset.count / 4 + element)];
  }
  // Of W + s B A.
  [[nodiscard]] double inner(std::size_t i, Index n, Index k) {
    const TrainedAdapter& adapter = *layout.adapter(static_cast<Index>(i));
    const Index cols = layout.tensors()[i].cols, rank = layout.adapter_rank();
    double sum = 0;
    for (Index r = 0; r < rank; ++r)
      sum += static_cast<double>(at(adapter.b, n * rank + r)) * static_cast<double>(at(adapter.a, r * cols + k));
    return static_cast<double>(
               base[static_cast<std::size_t>(base_layout.tensors()[i].offset.count / 4 + n * cols + k)]) +
           static_cast<double>(adapter.scale) * sum;
  }
  [[nodiscard]] float norm(std::size_t i, Index n) {
    double squares = 0;
    for (Index k = 0; k < layout.tensors()[i].cols; ++k) squares += std::pow(inner(i, n, k), 2);
    return static_cast<float>(std::sqrt(squares));
  }
  [[nodiscard]] std::vector<StoredRows> rows() const {
    std::vector<StoredRows> all = rows_of(layout, values);
    const std::vector<StoredRows> frozen = rows_of(base_layout, base);
    std::copy(frozen.begin(), frozen.end(), all.begin());
    return all;
  }
  // The whole weights that mean the same.
  [[nodiscard]] std::vector<float> merged() {
    std::vector<float> out = base;
    for (std::size_t i = 0; i < layout.model_tensors(); ++i) {
      const TrainedAdapter* adapter = layout.adapter(static_cast<Index>(i));
      if (adapter == nullptr) continue;
      const TrainedTensor& t = base_layout.tensors()[i];
      for (Index n = 0; n < t.rows; ++n) {
        const double gain = adapter->gain < 0 ? 1 : static_cast<double>(at(adapter->gain, n));
        for (Index k = 0; k < t.cols; ++k)
          out[static_cast<std::size_t>(t.offset.count / 4 + n * t.cols + k)] =
              static_cast<float>(gain * inner(i, n, k));
      }
    }
    return out;
  }

  TrainingLayout base_layout, layout;
  std::vector<float> base, values{};
};

std::vector<float> summed_gradient(const TrainingLayout& layout, const std::vector<float>& gradients, Index tensor) {
  const TrainedTensor& t = layout.tensor(tensor);
  std::vector<float> sum(static_cast<std::size_t>(t.size()));
  for (const Index use : t.gradients) {
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += gradients[static_cast<std::size_t>(use) + i];
  }
  return sum;
}

class GradientError {
 public:
  void add(double actual, double expected) {
    apart_ += std::pow(actual - expected, 2);
    size_ += std::pow(expected, 2);
  }
  [[nodiscard]] double relative() const { return std::sqrt(apart_) / (std::sqrt(size_) + 1e-7); }

 private:
  double apart_ = 0, size_ = 0;
};

// The gradients of whole weights are held against differences above; by the chain rule those of adapters follow: with
// V = W + s B A and dV = g dW', dB = s dV A^T, dA = s B^T dV, dmagnitude = dW' V / norm (the norm is a constant).
void expect_chain_rule(const ModelConfig& c, const AdapterTraining& training) {
  AdaptedWeights w(c, training);
  const Data data = random_data(c, 2, 16);
  const Result whole = run(c, w.base_layout, w.merged(), data, {});
  std::vector<float> gradients(static_cast<std::size_t>(w.layout.gradient_values()));
  GradientArena sink(w.layout, gradients);
  const std::vector<double> losses = run_into(sink, c, w.layout, w.rows(), data, {});
  for (std::size_t t = 0; t < losses.size(); ++t) ASSERT_NEAR(losses[t], whole.losses[t], 1e-4);
  Index adapted = 0;
  for (std::size_t i = 0; i < w.layout.model_tensors(); ++i) {
    const TrainedAdapter* adapter = w.layout.adapter(static_cast<Index>(i));
    if (adapter == nullptr) continue;
    ++adapted;
    const TrainedTensor& t = w.layout.tensors()[i];
    const Index rank = w.layout.adapter_rank();
    const std::vector<float> dw = summed_gradient(w.base_layout, whole.gradients, static_cast<Index>(i));
    const auto dv = [&](Index n, Index k) {
      const double gain = adapter->gain < 0 ? 1 : static_cast<double>(w.at(adapter->gain, n));
      return gain * static_cast<double>(dw[static_cast<std::size_t>(n * t.cols + k)]);
    };
    const double s = static_cast<double>(adapter->scale);
    const std::vector<float> da = summed_gradient(w.layout, gradients, adapter->a),
                             db = summed_gradient(w.layout, gradients, adapter->b);
    GradientError of_a, of_b, of_magnitude;
    for (Index r = 0; r < rank; ++r) {
      for (Index k = 0; k < t.cols; ++k) {
        double sum = 0;
        for (Index n = 0; n < t.rows; ++n) sum += s * static_cast<double>(w.at(adapter->b, n * rank + r)) * dv(n, k);
        of_a.add(static_cast<double>(da[static_cast<std::size_t>(r * t.cols + k)]), sum);
      }
      for (Index n = 0; n < t.rows; ++n) {
        double sum = 0;
        for (Index k = 0; k < t.cols; ++k) sum += s * static_cast<double>(w.at(adapter->a, r * t.cols + k)) * dv(n, k);
        of_b.add(static_cast<double>(db[static_cast<std::size_t>(n * rank + r)]), sum);
      }
    }
    EXPECT_LT(of_a.relative(), 1e-3) << t.name;
    EXPECT_LT(of_b.relative(), 1e-3) << t.name;
    if (adapter->magnitude < 0) continue;
    const std::vector<float> dm = summed_gradient(w.layout, gradients, adapter->magnitude);
    for (Index n = 0; n < t.rows; ++n) {
      double sum = 0;
      for (Index k = 0; k < t.cols; ++k)
        sum += static_cast<double>(dw[static_cast<std::size_t>(n * t.cols + k)]) * w.inner(i, n, k);
      of_magnitude.add(static_cast<double>(dm[static_cast<std::size_t>(n)]), sum / static_cast<double>(w.norm(i, n)));
    }
    EXPECT_LT(of_magnitude.relative(), 1e-3) << t.name;
  }
  EXPECT_EQ(adapted, 7 * c.num_hidden_layers);
}

TEST_P(EveryModel, GivesAdaptersTheSlopesOfTheWeightsTheyMake) {
  expect_chain_rule(GetParam().second(), {.rank = 4, .alpha = 6});
}

TEST_P(EveryModel, GivesDoraTheSlopesOfTheWeightsItMakes) {
  expect_chain_rule(GetParam().second(), {.rank = 4, .alpha = 6, .rslora = true, .dora = true});
}

TEST_P(EveryModel, TrainsAdaptersWithTheSameBitsForAnyThreadsMicroBatchAndRecompute) {
  const ModelConfig c = GetParam().second();
  AdaptedWeights w(c, {.rank = 6, .alpha = 6, .dora = true});
  const Data data = random_data(c, 4, 70);
  const auto gradients_of = [&](const How& how) {
    std::vector<float> gradients(static_cast<std::size_t>(w.layout.gradient_values()));
    GradientArena sink(w.layout, gradients);
    run_into(sink, c, w.layout, w.rows(), data, how);
    return gradients;
  };
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    const std::vector<float> reference = gradients_of({.threads = 1, .compute = compute});
    EXPECT_TRUE(std::any_of(reference.begin(), reference.end(), [](float x) { return x != 0; }));
    for (const int threads : {1, 3}) {
      for (const Index at_once : {1, 3, 4}) {
        for (const Recompute recompute : {Recompute::none(), Recompute::blocks(), Recompute::inputs_too(2)}) {
          EXPECT_EQ(gradients_of({.threads = threads, .at_once = at_once, .recompute = recompute, .compute = compute}),
                    reference);
        }
      }
    }
  }
}

TEST(AdapterTraining, FreezesTheModelAndNamesTensorsAsPeftDoes) {
  const TrainingLayout layout(tiny_config(), {}, AdapterTraining{.rank = 4, .targets = {"q_proj", "down_proj"}});
  std::vector<std::string> trained;
  for (const TrainedTensor& t : layout.tensors()) {
    if (t.is_trained()) trained.push_back(t.name);
  }
  EXPECT_EQ(trained.size(), 2u * 2 * 2);
  EXPECT_EQ(trained.front(), "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
  EXPECT_EQ(layout.parameters(), 2 * 4 * (32 + 32 + 48 + 32));
  EXPECT_EQ(layout.gradient_values(), layout.parameters());
}

TEST(AdapterTraining, NamesTheModulesThatThereAre) {
  try {
    const TrainingLayout layout(tiny_config(), {}, AdapterTraining{.rank = 4, .targets = {"query"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("'query': expected some of down_proj, gate_proj, k_proj"));
  }
}

}  // namespace
}  // namespace jericho
