// From the list of weights to places in memory: see training_layout.h.
#include "models/training_layout.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "base/error.h"
#include "formats/adapter_file.h"
#include "kernels/stochastic_rows.h"
#include "models/weight_list.h"

namespace jericho {
namespace {

void refuse(const std::string& what) {
  throw Error(
      ErrorKind::kUnsupported,
      fmt::format("training of models with {} is not supported; llama, mistral, qwen2, qwen3 and mobilellm are", what));
}

void refuse_what_cannot_be_trained(const ModelConfig& c) {
  for (const LayerConfig& layer : c.layers) {
    if (!layer.attention || layer.state_space != StateSpace::kNone) refuse("state spaces");
    if (layer.feed_forward != FeedForward::kDense) refuse("experts");
    if (layer.rope != LayerRope::kGlobal) refuse("layers without rotation or with one of their own");
  }
  if (c.latent.kv_lora_rank > 0) refuse("latent attention");
  if (c.post_norms || c.sub_norms) refuse("norms after blocks or within them");
  if (c.qk_norm == QkNorm::kProjection) refuse("a norm of all query heads at once");
  if (c.attention_output_bias || c.mlp_bias) refuse("biases on outputs or in the feed-forward");
  if (c.clip_qkv || c.attention_softcap != 0 || c.final_softcap != 0) refuse("clipped or capped values");
  if (c.rope.scaling == RopeScaling::kLongRope || c.rope_divisors_in_file) refuse("rotation divisors");
  if (c.norms_without_one) refuse("norms kept as w of 1 + w");
  const Multipliers& m = c.multipliers;
  const float factors = m.q * m.k * m.v * m.attention_out * m.gate * m.down * m.embedding * m.head;
  if (factors != 1 || c.embedding_scale != 1 || c.residual_scale != 1 || c.logit_scale != 1) refuse("multipliers");
  if (c.hidden_size % 2 != 0 || c.head_dim % 2 != 0 || c.intermediate_size % 2 != 0) refuse("odd sizes");
}

DType stored_type(const TrainedTensor& tensor, const WeightTypes& types) {
  if (!tensor.is_matrix()) return DType::kF32;
  const DType wanted = tensor.kind == TrainedKind::kProjection ? types.projections : types.embeddings;
  JERICHO_CHECK(wanted == DType::kF32 || is_rounded_at_random(wanted), "trained weights in {}", name(wanted));
  return tensor.cols % info(wanted).block_elements == 0 ? wanted : DType::kBF16;
}

}  // namespace

double AdapterTraining::scale() const {
  const auto r = static_cast<double>(rank);
  return alpha / (rslora ? std::sqrt(r) : r);
}

TrainingLayout::TrainingLayout(const ModelConfig& config, const WeightTypes& types,
                               const std::optional<AdapterTraining>& adapters) {
  refuse_what_cannot_be_trained(config);
  DecoderWeights views;
  std::map<const void*, Index> of_view;
  visit_weights(config, views, [&](const WeightSpec& spec, WeightView view) {
    const StoredForm& form = spec.hugging_face;
    if (form.parts.front().tensor_rows > 0 || form.transposed || form.factor != 1 || form.pairs.count > 0) {
      refuse(fmt::format("tensors that are parts of '{}'", form.parts.front().name));
    }
    TrainedTensor tensor;
    tensor.name = form.parts.front().name;
    tensor.rows = spec.rows;
    tensor.cols = spec.cols;
    tensor.layer = spec.use.layer;
    tensor.neutral = spec.neutral;
    if (!spec.is_matrix()) tensor.kind = TrainedKind::kVector;
    const void* key = std::visit([](auto* pointer) { return static_cast<const void*>(pointer); }, view);
    of_view[key] = static_cast<Index>(tensors_.size());
    tensors_.push_back(std::move(tensor));
  });
  const auto find = [&](const void* view) {
    const auto found = of_view.find(view);
    return found == of_view.end() ? Index{-1} : found->second;
  };
  const auto at = [&](Index index) -> TrainedTensor& { return tensors_[static_cast<std::size_t>(index)]; };
  embedding_ = find(&views.embedding);
  norm_ = find(&views.norm);
  head_ = config.tie_word_embeddings ? embedding_ : find(&views.head);
  at(embedding_).kind = TrainedKind::kEmbedding;
  if (head_ != embedding_) at(head_).kind = TrainedKind::kHead;
  for (const DecoderLayer& w : views.layers) {
    layers_.push_back({.attention_norm = find(&w.attention_norm),
                       .q = find(&w.q.matrix),
                       .k = find(&w.k.matrix),
                       .v = find(&w.v.matrix),
                       .o = find(&w.o.matrix),
                       .q_bias = find(&w.q.bias),
                       .k_bias = find(&w.k.bias),
                       .v_bias = find(&w.v.bias),
                       .q_norm = find(&w.q_norm),
                       .k_norm = find(&w.k_norm),
                       .feed_forward_norm = find(&w.feed_forward_norm),
                       .gate = find(&w.gate.matrix),
                       .up = find(&w.up.matrix),
                       .down = find(&w.down.matrix)});
    const TrainedLayer& layer = layers_.back();
    for (const Index index : {layer.q, layer.k}) at(index).head_rows = config.head_dim;
    for (const Index index : {layer.o, layer.down}) at(index).residual_output = true;
    for (const Index bias : {layer.q_bias, layer.k_bias, layer.v_bias}) {
      if (bias >= 0) at(bias).neutral = 0;
    }
  }
  model_tensors_ = tensors_.size();
  if (adapters) add_adapters(*adapters);
  for (TrainedTensor& tensor : tensors_) {
    Index uses = tensor.layer >= 0 ? config.layer_passes : 1;
    if (tensor.kind == TrainedKind::kEmbedding && head_ == embedding_) uses = 2;
    const Index multiplied = tensor.kind == TrainedKind::kProjection ? uses * tensor.size() : 0;
    multiplied_ += multiplied;
    if (tensor.is_trained()) multiplied_trained_ += multiplied;
    if (tensor.fate == TensorFate::kFrozen) continue;
    const Index values = round_up(tensor.size(), 16);
    tensor.dtype = adapters ? DType::kF32 : stored_type(tensor, types);
    tensor.offset = weight_bytes_;
    weight_bytes_ += round_up(tensor.stored_bytes(), Bytes{64});
    if (!tensor.is_trained()) continue;
    for (Index use = 0; use < uses; ++use, gradient_values_ += values) tensor.gradients.push_back(gradient_values_);
  }
  multiplied_ += at(head_).size();
  if (at(head_).is_trained()) multiplied_trained_ += at(head_).size();
}

void TrainingLayout::add_adapters(const AdapterTraining& adapters) {
  std::set<std::string> unused(adapters.targets.begin(), adapters.targets.end()), there_are;
  adapters_.resize(model_tensors_);
  adapter_rank_ = adapters.rank;
  for (std::size_t i = 0; i < model_tensors_; ++i) {
    tensors_[i].fate = TensorFate::kFrozen;
    const TrainedTensor base = tensors_[i];
    if (base.kind != TrainedKind::kProjection) continue;
    std::string path = base.name;
    if (path.ends_with(".weight")) path.resize(path.size() - 7);
    const std::string last = path.substr(path.rfind('.') + 1);
    there_are.insert(last);
    unused.erase(last);
    const auto& targets = adapters.targets;
    if (!targets.empty() && std::find(targets.begin(), targets.end(), last) == targets.end()) continue;
    const auto add = [&](const std::string& name, Index rows, Index cols, TrainedKind kind, TensorFate fate) {
      tensors_.push_back({.name = name, .rows = rows, .cols = cols, .kind = kind, .fate = fate, .layer = base.layer});
      return static_cast<Index>(tensors_.size()) - 1;
    };
    TrainedAdapter& adapter = adapters_[i];
    adapter.scale = static_cast<float>(adapters.scale());
    adapter.a = add(lora_a_name(path), adapters.rank, base.cols, TrainedKind::kProjection, TensorFate::kTrained);
    adapter.b = add(lora_b_name(path), base.rows, adapters.rank, TrainedKind::kProjection, TensorFate::kTrained);
    if (!adapters.dora) continue;
    adapter.magnitude = add(lora_magnitude_name(path), 1, base.rows, TrainedKind::kVector, TensorFate::kTrained);
    adapter.gain = add(path + ".gain", 1, base.rows, TrainedKind::kVector, TensorFate::kComputed);
  }
  if (unused.empty()) return;
  throw Error(ErrorKind::kUsage,
              fmt::format("adapter.targets: '{}': expected some of {}", *unused.begin(), fmt::join(there_are, ", ")));
}

Index TrainingLayout::parameters() const {
  Index count = 0;
  for (const TrainedTensor& tensor : tensors_) count += tensor.is_trained() ? tensor.size() : 0;
  return count;
}

const TrainedAdapter* TrainingLayout::adapter(Index weight) const {
  const auto index = static_cast<std::size_t>(weight);
  return index < adapters_.size() && adapters_[index].a >= 0 ? &adapters_[index] : nullptr;
}

double TrainingLayout::flops_per_token() const {
  return 4 * static_cast<double>(multiplied_) + 2 * static_cast<double>(multiplied_trained_);
}

bool TrainingLayout::all_fp32() const {
  return std::all_of(tensors_.begin(), tensors_.end(), [](const auto& t) { return t.dtype == DType::kF32; });
}

std::span<std::byte> TrainingLayout::stored(std::span<std::byte> weights, Index index) const {
  const TrainedTensor& t = tensor(index);
  return weights.subspan(t.offset.size(), t.stored_bytes().size());
}

MatrixView<float> TrainingLayout::weight(std::span<std::byte> weights, Index index) const {
  const TrainedTensor& t = tensor(index);
  JERICHO_CHECK(t.dtype == DType::kF32, "'{}' is stored in {}", t.name, name(t.dtype));
  return {reinterpret_cast<float*>(stored(weights, index).data()), t.rows, t.cols};
}

std::vector<StoredRows> TrainingLayout::weights(std::span<const std::byte> weights) const {
  std::vector<StoredRows> rows;
  for (const TrainedTensor& t : tensors_) {
    if (t.fate == TensorFate::kFrozen) {
      rows.emplace_back();
    } else {
      rows.emplace_back(weights.data() + t.offset.count, t.dtype, t.rows, t.cols);
    }
  }
  return rows;
}

MatrixView<float> TrainingLayout::gradient(std::span<float> gradients, Index index, Index use) const {
  const TrainedTensor& t = tensor(index);
  return {gradients.data() + t.gradients[static_cast<std::size_t>(use)], t.rows, t.cols};
}

}  // namespace jericho
