// Counting over the list of weights and the layers: see model_work.h.
#include "audit/model_work.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "plan/speed.h"

namespace jericho {
namespace {

constexpr double kActivationBytes = 2;  // of one value between two ops

std::size_t unit_of(DType dtype) { return static_cast<std::size_t>(multiplied_by(dtype)); }

constexpr auto kFloatUnit = static_cast<std::size_t>(PeakKind::kF32);

bool contains(std::string_view text, std::string_view word) { return text.find(word) != std::string_view::npos; }

bool is_embedding(const WeightPlacement& p) { return p.spec.name(ModelFormat::kGguf) == "token_embd.weight"; }
bool is_head(const WeightPlacement& p) {
  return p.spec.name(ModelFormat::kGguf) == "output.weight" || (is_embedding(p) && p.spec.read_per_token > 0);
}
bool is_router(const WeightPlacement& p) { return p.spec.keep == Keep::kPackedF32; }

Part part_of(const WeightPlacement& p) {
  if (is_head(p)) return Part::kHead;
  const std::string& name = p.spec.name(ModelFormat::kGguf);
  if (contains(name, "ssm_")) return Part::kStateSpace;
  if (contains(name, "ffn_")) return Part::kFeedForward;
  return Part::kProjections;
}

double elements(const WeightPlacement& p) { return static_cast<double>(p.spec.rows * p.spec.cols); }

// The type of most bytes of the matrices.
DType main_type(const WeightLayout& weights) {
  std::map<DType, Bytes> bytes;
  for (const WeightPlacement& p : weights.placements()) {
    if (p.spec.keep == Keep::kPacked) bytes[p.dtype] += p.size;
  }
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? DType::kF32 : most->first;
}

// See checkpoint_bytes().
Bytes bytes_of(const WeightPlacement& p, DType main) {
  if (p.source != nullptr) return p.size;
  const DType type = p.spec.keep != Keep::kPacked && !is_block(main) ? main : p.dtype;
  return storage_bytes(type, p.spec.rows * p.spec.cols);
}

struct AttentionShapeOf {  // per token and layer
  double query_key = 0;    // multiply-adds with one key and its value, all heads
  double io_values = 0;    // in and out besides the cache
};

AttentionShapeOf attention_of(const ModelConfig& c) {
  const auto heads = static_cast<double>(c.num_attention_heads);
  if (c.latent.kv_lora_rank > 0) {  // absorbed: queries meet the latent keys themselves
    const auto rank = static_cast<double>(c.latent.kv_lora_rank), rope = static_cast<double>(c.latent.rope_dim);
    return {heads * (2 * rank + rope), heads * (2 * rank + rope)};
  }
  return {2 * heads * static_cast<double>(c.head_dim), 2 * heads * static_cast<double>(c.head_dim)};
}

double kv_bytes_per_layer_token(const ModelConfig& c, KvTypes type) {
  KvLayout one = kv_layout(c, type);
  if (one.layers == 0) return 0;
  one.layers = 1;
  return static_cast<double>(one.bytes_per_token().count);
}

double passes(const ModelConfig& c) { return static_cast<double>(c.layer_passes); }

// Adds what linear maps of `rows` rows do, of which `head_rows` reach the head and `batch` choose experts together.
void add_linear(const ModelView& model, double rows, double head_rows, double weight_reads, std::vector<Op>& ops) {
  const DType main = main_type(model.weights);
  for (const WeightPlacement& p : model.weights.placements()) {
    const double share = p.spec.read_per_token;
    if (!p.spec.is_matrix() || share == 0) continue;
    const Part part = part_of(p);
    const bool head = part == Part::kHead;
    const double these = (head ? head_rows : rows) * share * (head ? 1 : passes(model.config));
    Op& op = ops[static_cast<std::size_t>(part)];
    op.operations[unit_of(p.dtype)] += 2 * elements(p) * these;
    const double met = share < 1 ? 1 - std::pow(1 - share, rows / weight_reads) : 1;  // in each reading of the weights
    op.weight_bytes +=
        static_cast<double>(bytes_of(p, main).count) * met * (head ? std::min(1.0, head_rows) : weight_reads);
    op.activation_bytes += kActivationBytes * these * static_cast<double>(p.spec.rows + p.spec.cols);
  }
}

// Norms and residuals read and write the residual stream some times per layer.
void add_norms(const ModelConfig& c, double rows, std::vector<Op>& ops) {
  const double norms = c.post_norms ? 4 : 2;
  const double values =
      rows * static_cast<double>(c.hidden_size) * (norms * static_cast<double>(c.num_hidden_layers) * passes(c) + 1);
  Op& op = ops[static_cast<std::size_t>(Part::kNorms)];
  op.operations[kFloatUnit] += 6 * values;
  op.activation_bytes += 2 * kActivationBytes * values;
}

void add_state_space(const ModelConfig& c, KvTypes type, double rows, double state_moves, std::vector<Op>& ops) {
  const double layers = static_cast<double>(c.state_space_layers());
  if (layers == 0) return;
  const double values = static_cast<double>(c.state_space.inner_size * c.state_space.state_size);
  Op& op = ops[static_cast<std::size_t>(Part::kStateSpace)];
  op.operations[kFloatUnit] += 6 * values * layers * rows;
  op.cache_bytes += 2 * static_cast<double>(state_bytes(c, type).count) * state_moves;
}

std::vector<Op> empty_ops() {
  std::vector<Op> ops(kParts);
  for (std::size_t i = 0; i < kParts; ++i) ops[i].part = static_cast<Part>(i);
  return ops;
}

std::vector<Op> without_empty(std::vector<Op> ops) {
  std::erase_if(ops, [](const Op& op) { return op.total_operations() == 0; });
  return ops;
}

// Sum of min(i, window) for i = 1 .. n.
double windowed_sum(double n, double window) {
  if (window == 0 || n <= window) return n * (n + 1) / 2;
  return window * (window + 1) / 2 + (n - window) * window;
}

}  // namespace

ParameterCount count_parameters(const WeightLayout& weights) {
  ParameterCount count;
  count.total = weights.parameters();
  for (const WeightPlacement& p : weights.placements()) {
    const bool gathered = is_embedding(p) && !is_head(p);
    count.active += elements(p) * (gathered ? 1 : p.spec.read_per_token);
    if (gathered) count.embedding += p.spec.rows * p.spec.cols;
    if (!p.spec.is_matrix()) continue;
    count.largest = std::max(count.largest, p.spec.rows * p.spec.cols);
    if (!is_embedding(p) && !is_head(p) && !is_router(p)) count.linear += p.spec.rows * p.spec.cols;
  }
  return count;
}

std::vector<TypeShare> weights_by_type(const WeightLayout& weights) {
  const DType main = main_type(weights);
  std::map<DType, TypeShare> types;
  for (const WeightPlacement& p : weights.placements()) {
    const DType type = p.source == nullptr && p.spec.keep != Keep::kPacked && !is_block(main) ? main : p.dtype;
    TypeShare& share = types[type];
    share.dtype = type;
    share.parameters += p.spec.rows * p.spec.cols;
    share.bytes += bytes_of(p, main);
  }
  std::vector<TypeShare> list;
  for (const auto& [type, share] : types) list.push_back(share);
  std::stable_sort(list.begin(), list.end(), [](const TypeShare& a, const TypeShare& b) { return a.bytes > b.bytes; });
  return list;
}

Bytes checkpoint_bytes(const WeightLayout& weights) {
  const DType main = main_type(weights);
  Bytes sum{};
  for (const WeightPlacement& p : weights.placements()) sum += bytes_of(p, main);
  return sum;
}

double bits_per_weight(const WeightLayout& weights) {
  return 8 * static_cast<double>(checkpoint_bytes(weights).count) /
         static_cast<double>(std::max<Index>(1, weights.parameters()));
}

double kv_need(const ModelConfig& config, KvTypes type, double tokens) {
  const double one = kv_bytes_per_layer_token(config, type);
  double sum = 0;
  for (const LayerConfig& layer : config.layers) {
    if (!layer.attention) continue;
    sum += one * (layer.window > 0 ? std::min(tokens, static_cast<double>(layer.window)) : tokens);
  }
  return sum * passes(config);
}

Bytes kv_bytes(const ModelConfig& config, KvTypes type, Index tokens) {
  return {static_cast<std::int64_t>(kv_need(config, type, static_cast<double>(tokens)))};  // exact below 2^53
}

Bytes state_bytes(const ModelConfig& config, KvTypes type) {
  return state_layout(config, type.keys).bytes_per_sequence();
}

Bytes logit_bytes(const ModelConfig& config, Index rows) { return {rows * config.vocab_size * 4}; }

Bytes key_block_bytes(Index tokens, Index head_dim, Index bits) {
  return {tokens * head_dim * bits / 8 + 2 * head_dim * 2};
}

double crossover_context(Bytes weights, Bytes kv_per_token) {
  if (kv_per_token == Bytes{}) return 0;
  return std::round(static_cast<double>(weights.count) / static_cast<double>(kv_per_token.count));
}

std::string_view name(Part part) {
  constexpr std::array<std::string_view, kParts> kNames = {"projections", "attention", "feed-forward",
                                                           "state space", "head",      "norms"};
  return kNames[static_cast<std::size_t>(part)];
}

double Op::intensity() const {
  const double bytes = memory_bytes() + activation_bytes;
  return bytes > 0 ? total_operations() / bytes : 0;
}

Op linear_op(double rows, double m, double n, double weight_bits) {
  Op op{.part = Part::kProjections};
  op.operations[kFloatUnit] = 2 * rows * m * n;
  op.weight_bytes = m * n * weight_bits / 8;
  op.activation_bytes = kActivationBytes * rows * (m + n);
  return op;
}

Op attention_decode_op(const ModelConfig& config, KvTypes type, double tokens) {
  Op op{.part = Part::kAttention};
  op.operations[kFloatUnit] = 2 * attention_of(config).query_key * tokens;
  op.cache_bytes = kv_bytes_per_layer_token(config, type) * tokens;
  return op;
}

std::vector<Op> decode_ops(const ModelView& model, KvTypes type, double batch, double context) {
  const ModelConfig& c = model.config;
  std::vector<Op> ops = empty_ops();
  add_linear(model, batch, batch, 1, ops);
  Op& attention = ops[static_cast<std::size_t>(Part::kAttention)];
  for (const LayerConfig& layer : c.layers) {
    if (!layer.attention) continue;
    const double depth = layer.window > 0 ? std::min(context, static_cast<double>(layer.window)) : context;
    const Op one = attention_decode_op(c, type, depth);
    attention.operations[kFloatUnit] += one.total_operations() * batch * passes(c);
    attention.cache_bytes += one.cache_bytes * batch * passes(c);
    attention.activation_bytes += kActivationBytes * attention_of(c).io_values * batch * passes(c);
  }
  add_state_space(c, type, batch, batch, ops);
  add_norms(c, batch, ops);
  return without_empty(std::move(ops));
}

std::vector<Op> prefill_ops(const ModelView& model, KvTypes type, double tokens, double chunk) {
  const ModelConfig& c = model.config;
  const double pieces = std::max(1.0, std::ceil(tokens / std::max(1.0, chunk)));
  std::vector<Op> ops = empty_ops();
  add_linear(model, tokens, 1, pieces, ops);
  Op& attention = ops[static_cast<std::size_t>(Part::kAttention)];
  const AttentionShapeOf shape = attention_of(c);
  for (const LayerConfig& layer : c.layers) {
    if (!layer.attention) continue;
    const auto window = static_cast<double>(layer.window);
    attention.operations[kFloatUnit] += 2 * shape.query_key * windowed_sum(tokens, window) * passes(c);
    // Each piece reads what lies before it.
    const double depth = window > 0 ? std::min(tokens, window + tokens / pieces) : (tokens + tokens / pieces) / 2;
    attention.cache_bytes += kv_bytes_per_layer_token(c, type) * depth * pieces * passes(c);
    attention.activation_bytes += kActivationBytes * shape.io_values * tokens * passes(c);
  }
  add_state_space(c, type, tokens, pieces, ops);
  add_norms(c, tokens, ops);
  return without_empty(std::move(ops));
}

double total_operations(const std::vector<Op>& ops) {
  double sum = 0;
  for (const Op& op : ops) sum += op.total_operations();
  return sum;
}

double total_bytes(const std::vector<Op>& ops) {
  double sum = 0;
  for (const Op& op : ops) sum += op.memory_bytes();
  return sum;
}

double intensity(const std::vector<Op>& ops) {
  const double bytes = total_bytes(ops);
  return bytes > 0 ? total_operations(ops) / bytes : 0;
}

}  // namespace jericho
