// The list, block by block: see weight_list.h.
#include "models/weight_list.h"

#include <utility>

#include <fmt/format.h>

namespace jericho {
namespace {

// A weight's name as a member of WeightNames, so that both formats are spelled at once.
using Name = std::string WeightNames::*;

class WeightList {
 public:
  WeightList(const ModelConfig& config, DecoderWeights& weights, const WeightVisitor& visit)
      : c_(config), w_(weights), visit_(visit) {}

  void run() {
    WeightSpec embedding = spec(&WeightNames::embedding, "", c_.vocab_size, c_.hidden_size);
    embedding.gguf.factor = c_.multipliers.embedding;
    embedding.read_per_token = c_.tie_word_embeddings ? 1 : 0;
    emit(embedding, &w_.embedding);
    w_.layers.resize(static_cast<std::size_t>(c_.num_hidden_layers));
    for (Index n = 0; n < c_.num_hidden_layers; ++n) {
      use_ = {.layer = n};
      layer(c_.layers[static_cast<std::size_t>(n)], w_.layers[static_cast<std::size_t>(n)]);
    }
    use_ = {};
    norm(&WeightNames::norm, c_.hidden_size, w_.norm);
    if (!c_.tie_word_embeddings) {
      WeightSpec head = spec(&WeightNames::head, "", c_.vocab_size, c_.hidden_size);
      head.gguf.factor = c_.multipliers.head;
      emit(head, &w_.head);
    }
    if (c_.rope_divisors_in_file) vector(&WeightNames::rope_divisors, "", c_.rope.dims / 2, w_.rope_divisors);
    if (c_.rope.factors_in_file) {
      vector(&WeightNames::rope_short_divisors, "", c_.rope.dims / 2, w_.rope_divisors);
      vector(&WeightNames::rope_long_divisors, "", c_.rope.dims / 2, w_.rope_long_divisors);
    }
  }

 private:
  void emit(WeightSpec s, WeightView view) const {
    s.use = use_;
    visit_(s, view);
  }

  [[nodiscard]] std::string full(const WeightNames& names, Name name, const char* suffix) const {
    const std::string& own = names.*name;
    if (own.empty()) return {};
    return (use_.layer < 0 ? "" : fmt::format(fmt::runtime(names.layer), use_.layer)) + own + suffix;
  }

  [[nodiscard]] StoredForm stored(const WeightNames& names, Name name, const char* suffix) const {
    return {.parts = {{full(names, name, suffix)}}};
  }

  [[nodiscard]] WeightSpec spec(Name name, const char* suffix, Index rows, Index cols) const {
    WeightSpec s;
    s.hugging_face = stored(c_.hugging_face_names, name, suffix);
    s.gguf = stored(c_.gguf_names, name, suffix);
    s.rows = rows;
    s.cols = cols;
    return s;
  }

  // Moves a spec to rows [first, ...) of tensors with `total` rows.
  static WeightSpec rows_of(WeightSpec s, Index first, Index total) {
    for (StoredForm* form : {&s.hugging_face, &s.gguf}) {
      for (TensorPart& part : form->parts) part.first_row = first, part.tensor_rows = total;
    }
    return s;
  }

  void vector(Name name, const char* suffix, Index size, std::span<const float>& view, float neutral = 1) {
    values(spec(name, suffix, 1, size), view, neutral);
  }

  void values(WeightSpec s, std::span<const float>& view, float neutral = 1) {
    s.keep = Keep::kValues;
    s.neutral = neutral;
    emit(s, &view);
  }

  void norm(Name name, Index size, std::span<const float>& view) {
    WeightSpec s = spec(name, "", 1, size);
    if (c_.norms_without_one) s.hugging_face.values = StoredValues::kWithoutOne;
    values(std::move(s), view);
  }

  // A projection with its bias: `s` names the weight; the bias is kept as the rows of the weight are.
  void linear(const WeightSpec& s, Name stem, LinearWeight& view, bool bias) {
    emit(s, &view.matrix);
    if (!bias) return;
    WeightSpec b = spec(stem, ".bias", 1, s.rows);
    for (const auto& [to, from] : {std::pair(&b.hugging_face, &s.hugging_face), std::pair(&b.gguf, &s.gguf)}) {
      to->pairs = from->pairs;
      to->factor = from->factor;
      to->parts.front().first_row = from->parts.front().first_row;
      to->parts.front().tensor_rows = from->parts.front().tensor_rows;
    }
    values(std::move(b), view.bias);
  }

  void linear(Name stem, Index rows, Index cols, LinearWeight& view, bool bias, float factor = 1, Index unit = 1) {
    WeightSpec s = spec(stem, ".weight", rows, cols);
    s.gguf.factor = factor;
    s.unit_multiple = unit;
    linear(s, stem, view, bias);
  }

  // One of several projections that a family may keep as the rows of one tensor.
  struct Fused {
    Name stem;
    Index first;
    Index total;
  };
  void part(Name stem, Fused fused, Index rows, LinearWeight& view, bool bias, float factor, RowPairs pairs = {}) {
    const bool is_fused = !(c_.hugging_face_names.*fused.stem).empty();
    const Name name = is_fused ? fused.stem : stem;
    WeightSpec s = spec(name, ".weight", rows, c_.hidden_size);
    if (is_fused) s = rows_of(std::move(s), fused.first, fused.total);
    s.gguf.factor = factor;
    s.gguf.pairs = pairs;
    linear(s, name, view, bias);
  }

  void layer(const LayerConfig& config, DecoderLayer& view) {
    norm(&WeightNames::attention_norm, c_.hidden_size, view.attention_norm);
    if (config.attention && c_.latent.kv_lora_rank > 0) latent_attention(view.latent);
    if (config.attention && c_.latent.kv_lora_rank == 0) attention(view);
    if (config.attention) output(view);
    if (config.state_space != StateSpace::kNone) state_space(config.state_space, view.state_space);
    if (c_.post_norms) norm(&WeightNames::attention_post_norm, c_.hidden_size, view.attention_post_norm);
    if (config.feed_forward == FeedForward::kNone) return;
    use_.part = LayerPart::kFeedForward;
    norm(&WeightNames::feed_forward_norm, c_.hidden_size, view.feed_forward_norm);
    if (config.feed_forward == FeedForward::kDense) dense(view);
    if (config.feed_forward == FeedForward::kExperts) experts(view);
    if (c_.post_norms) norm(&WeightNames::feed_forward_post_norm, c_.hidden_size, view.feed_forward_post_norm);
  }

  void attention(DecoderLayer& view) {
    const Index q = c_.query_size(), kv = c_.kv_size(), total = q + 2 * kv;
    const bool bias = c_.attention_qkv_bias;
    const RowPairs pairs = c_.interleaved_qk_rows ? RowPairs{c_.head_dim, 0, c_.head_dim} : RowPairs{};
    const Name fused = &WeightNames::qkv;
    part(&WeightNames::q, {fused, 0, total}, q, view.q, bias, c_.multipliers.q, pairs);
    part(&WeightNames::k, {fused, q, total}, kv, view.k, bias, c_.multipliers.k, pairs);
    part(&WeightNames::v, {fused, q + kv, total}, kv, view.v, bias, c_.multipliers.v);
    if (c_.qk_norm != QkNorm::kNone) {
      const bool whole = c_.qk_norm == QkNorm::kProjection;
      norm(&WeightNames::q_norm, whole ? q : c_.head_dim, view.q_norm);
      norm(&WeightNames::k_norm, whole ? kv : c_.head_dim, view.k_norm);
    }
    if (c_.sub_norms) norm(&WeightNames::attention_sub_norm, q, view.attention_sub_norm);
  }

  void output(DecoderLayer& view) {
    const Index width = c_.latent.kv_lora_rank > 0 ? c_.latent.value_dim : c_.head_dim;
    linear(&WeightNames::o, c_.hidden_size, c_.num_attention_heads * width, view.o, c_.attention_output_bias,
           c_.multipliers.attention_out, width);
  }

  void latent_attention(LatentWeights& view) {
    const LatentConfig& m = c_.latent;
    const Index H = c_.num_attention_heads, head = m.nope_dim + m.rope_dim;
    // Both formats keep the rotated rows in pairs.
    const auto rotated = [](WeightSpec s, RowPairs pairs) {
      s.hugging_face.pairs = s.gguf.pairs = pairs;
      return s;
    };
    const RowPairs query_pairs = {head, m.nope_dim, m.rope_dim};
    if (m.q_lora_rank > 0) {
      linear(&WeightNames::q_a, m.q_lora_rank, c_.hidden_size, view.q_a, false);
      norm(&WeightNames::q_a_norm, m.q_lora_rank, view.q_a_norm);
      linear(rotated(spec(&WeightNames::q_b, ".weight", H * head, m.q_lora_rank), query_pairs), &WeightNames::q_b,
             view.q_b, false);
    } else {
      linear(rotated(spec(&WeightNames::q, ".weight", H * head, c_.hidden_size), query_pairs), &WeightNames::q, view.q,
             false);
    }
    const Index kv = m.kv_lora_rank + m.rope_dim;
    linear(rotated(spec(&WeightNames::kv_a, ".weight", kv, c_.hidden_size), {kv, m.kv_lora_rank, m.rope_dim}),
           &WeightNames::kv_a, view.kv_a, false);
    norm(&WeightNames::kv_a_norm, m.kv_lora_rank, view.kv_a_norm);
    view.k_b.resize(static_cast<std::size_t>(H));
    view.v_b.resize(static_cast<std::size_t>(H));
    const Index both = m.nope_dim + m.value_dim;
    for (Index h = 0; h < H; ++h) {
      WeightSpec k = rows_of(spec(&WeightNames::kv_b, ".weight", m.kv_lora_rank, m.nope_dim), h * both, H * both);
      k.hugging_face.transposed = k.gguf.transposed = true;
      WeightSpec v =
          rows_of(spec(&WeightNames::kv_b, ".weight", m.value_dim, m.kv_lora_rank), h * both + m.nope_dim, H * both);
      // GGUF has the two split, the part of the keys transposed already; older files hold kv_b as it is.
      if (!c_.gguf_names.k_b.empty()) {
        k.gguf = stored(c_.gguf_names, &WeightNames::k_b, ".weight");
        k.gguf.parts.front().first_row = h * m.kv_lora_rank;
        k.gguf.parts.front().tensor_rows = H * m.kv_lora_rank;
        v.gguf = stored(c_.gguf_names, &WeightNames::v_b, ".weight");
        v.gguf.parts.front().first_row = h * m.value_dim;
        v.gguf.parts.front().tensor_rows = H * m.value_dim;
        k.gguf.parts.front().shape = {H, m.kv_lora_rank, m.nope_dim};
        v.gguf.parts.front().shape = {H, m.value_dim, m.kv_lora_rank};
      }
      emit(k, &view.k_b[static_cast<std::size_t>(h)]);
      emit(v, &view.v_b[static_cast<std::size_t>(h)]);
    }
  }

  void state_space(StateSpace kind, StateSpaceWeights& view) {
    const StateSpaceConfig& s = c_.state_space;
    const Multipliers& m = c_.multipliers;
    const Index inner = s.inner_size, state = s.state_size, groups = s.groups * state;
    const bool two = kind == StateSpace::kMamba2;
    const Index total = two ? 2 * inner + 2 * groups + s.heads : 2 * inner;
    Index first = 0;
    const auto in = [&](Index rows, LinearWeight& to, float factor) {
      WeightSpec p = rows_of(spec(&WeightNames::ssm_in, ".weight", rows, c_.hidden_size), first, total);
      p.gguf.factor = factor;
      linear(p, &WeightNames::ssm_in, to, s.projection_bias);
      first += rows;
    };
    if (two) {
      in(inner, view.z, m.ssm_z);
      in(inner, view.x, m.ssm_x);
      in(groups, view.b, m.ssm_b);
      in(groups, view.c, m.ssm_c);
      in(s.heads, view.dt, m.ssm_dt);
    } else {
      in(inner, view.x, m.ssm_x);
      in(inner, view.z, m.ssm_z);
    }
    const Index channels = two ? inner + 2 * groups : inner;
    WeightSpec conv = spec(&WeightNames::ssm_conv, ".weight", channels, s.conv_kernel);
    conv.hugging_face.parts.front().shape = {channels, 1, s.conv_kernel};
    values(std::move(conv), view.conv, 0.25f);
    if (s.conv_bias) vector(&WeightNames::ssm_conv, ".bias", channels, view.conv_bias, 0);
    if (!two) {
      const Index projected = s.dt_rank + 2 * state;
      const auto x_part = [&](Index from, Index rows, PackedMatrix& to) {
        emit(rows_of(spec(&WeightNames::ssm_x, ".weight", rows, inner), from, projected), &to);
      };
      x_part(0, s.dt_rank, view.x_dt);
      x_part(s.dt_rank, state, view.x_b);
      x_part(s.dt_rank + state, state, view.x_c);
      if (s.dt_b_c_weights) {
        norm(&WeightNames::ssm_dt_norm, s.dt_rank, view.dt_norm);
        norm(&WeightNames::ssm_b_norm, state, view.b_norm);
        norm(&WeightNames::ssm_c_norm, state, view.c_norm);
      }
      emit(spec(&WeightNames::ssm_dt, ".weight", inner, s.dt_rank), &view.dt_proj);
      vector(&WeightNames::ssm_dt, ".bias", inner, view.dt_bias, -4);
    } else {
      vector(&WeightNames::ssm_dt_bias, "", s.heads, view.dt_bias, -4);
    }
    WeightSpec a = two ? spec(&WeightNames::ssm_a, "", 1, s.heads) : spec(&WeightNames::ssm_a, "", inner, state);
    a.hugging_face.values = StoredValues::kNegativeLog;
    WeightSpec d = spec(&WeightNames::ssm_d, "", 1, two ? s.heads : inner);
    WeightSpec gated_norm = spec(&WeightNames::ssm_norm, "", 1, inner);
    if (two) {
      a.gguf.parts.front().shape = d.gguf.parts.front().shape = {s.heads, 1};
      gated_norm.gguf.parts.front().shape = {s.groups, inner / s.groups};
    }
    values(std::move(a), view.a, -1);
    values(std::move(d), view.d);
    if (two && s.gated_norm) values(std::move(gated_norm), view.norm);
    linear(&WeightNames::ssm_out, c_.hidden_size, inner, view.out, s.projection_bias, m.ssm_out);
  }

  void dense(DecoderLayer& view) {
    const Index size = c_.intermediate_size;
    const Name fused = &WeightNames::gate_up;
    part(&WeightNames::gate, {fused, 0, 2 * size}, size, view.gate, c_.mlp_bias, c_.multipliers.gate);
    part(&WeightNames::up, {fused, size, 2 * size}, size, view.up, c_.mlp_bias, 1);
    if (c_.sub_norms) norm(&WeightNames::feed_forward_sub_norm, size, view.feed_forward_sub_norm);
    linear(&WeightNames::down, c_.hidden_size, size, view.down, c_.mlp_bias, c_.multipliers.down);
  }

  // Expert e of a stack is rows [e * rows, ...) of it; in a stack of gate and up, every expert has both.
  void expert(Name single, Name stacked, Index e, Index rows, Index cols, Index in_stack, Index stack_rows,
              PackedMatrix& view) {
    WeightSpec s;
    s.rows = rows;
    s.cols = cols;
    s.read_per_token = static_cast<double>(c_.moe.experts_per_token) / static_cast<double>(c_.moe.experts);
    const auto form = [&](const WeightNames& names, Name stack, Index first, Index total) {
      StoredForm f;
      const std::string one = full(names, single, "");
      const std::string many = full(names, stack, "");
      if (!one.empty()) f.parts.push_back({fmt::format(fmt::runtime(one), e)});
      if (!many.empty()) {
        f.parts.insert(names.stacked_first ? f.parts.begin() : f.parts.end(),
                       {many, first, total, {c_.moe.experts, total / c_.moe.experts, cols}});
      }
      return f;
    };
    const bool fused_stack = stacked != &WeightNames::stacked_down && !(c_.hugging_face_names.stacked_gate_up).empty();
    s.hugging_face = fused_stack ? form(c_.hugging_face_names, &WeightNames::stacked_gate_up, e * stack_rows + in_stack,
                                        c_.moe.experts * stack_rows)
                                 : form(c_.hugging_face_names, stacked, e * rows, c_.moe.experts * rows);
    s.gguf = form(c_.gguf_names, stacked, e * rows, c_.moe.experts * rows);
    emit(s, &view);
  }

  void experts(DecoderLayer& view) {
    const MoeConfig& m = c_.moe;
    const auto f32 = [&](Name name, Index rows, PackedMatrix& to) {
      WeightSpec s = spec(name, "", rows, c_.hidden_size);
      s.keep = Keep::kPackedF32;
      emit(s, &to);
    };
    f32(&WeightNames::router, m.experts, view.router);
    if (m.selection_bias) vector(&WeightNames::router_bias, "", m.experts, view.router_bias, 0);
    const Index size = m.intermediate_size;
    view.experts.resize(static_cast<std::size_t>(m.experts));
    for (Index e = 0; e < m.experts; ++e) {
      ExpertWeights& to = view.experts[static_cast<std::size_t>(e)];
      use_.expert = e;
      expert(&WeightNames::expert_gate, &WeightNames::stacked_gate, e, size, c_.hidden_size, 0, 2 * size, to.gate);
      expert(&WeightNames::expert_up, &WeightNames::stacked_up, e, size, c_.hidden_size, size, 2 * size, to.up);
      expert(&WeightNames::expert_down, &WeightNames::stacked_down, e, c_.hidden_size, size, 0, 0, to.down);
    }
    use_.expert = -1;
    if (m.shared_intermediate_size == 0) return;
    const Index shared = m.shared_intermediate_size;
    linear(&WeightNames::shared_gate, shared, c_.hidden_size, view.gate, false);
    linear(&WeightNames::shared_up, shared, c_.hidden_size, view.up, false);
    linear(&WeightNames::shared_down, c_.hidden_size, shared, view.down, false);
    if (!m.shared_gate) return;
    WeightSpec gate = spec(&WeightNames::shared_router, "", 1, c_.hidden_size);
    gate.gguf.parts.front().shape = {c_.hidden_size};
    gate.keep = Keep::kPackedF32;
    emit(gate, &view.shared_router);
  }

  const ModelConfig& c_;
  DecoderWeights& w_;
  const WeightVisitor& visit_;
  WeightUse use_{};  // of what is emitted next
};

}  // namespace

void visit_weights(const ModelConfig& config, DecoderWeights& weights, const WeightVisitor& visit) {
  WeightList(config, weights, visit).run();
}

}  // namespace jericho
