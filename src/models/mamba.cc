// Mamba (Gu & Dao 2023, arXiv:2312.00752), Falcon Mamba (arXiv:2410.05355: dt, B and C pass a norm without weights) and
// Mamba-2 (Dao & Gu 2024, arXiv:2405.21060): layers of one state space each, no attention, no feed-forward and so no
// limit to the context but the one named here.
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "models/families.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

constexpr Index kContext = Index{1} << 20;  // what GGUF files of these models write

WeightNames backbone_names() {
  WeightNames n = hugging_face_baseline();
  n.embedding = "backbone.embeddings.weight";
  n.norm = "backbone.norm_f.weight";
  n.layer = "backbone.layers.{}.";
  n.attention_norm = "norm.weight";
  return n;
}

void only_state_spaces(StateSpace kind, ModelConfig& c) {
  for (LayerConfig& layer : c.layers)
    layer = {.attention = false, .state_space = kind, .feed_forward = FeedForward::kNone, .rope = LayerRope::kNone};
  c.hugging_face_names = backbone_names();
}

ModelConfig backbone_from_json(const Json& config, StateSpace kind, bool tied_by_default) {
  ModelConfig c = skeleton_from_json(config);
  if (c.activation != Activation::kSilu) not_supported("config.json: a state space with another hidden_act than silu");
  c.max_position_embeddings = get<Index>(config, "max_position_embeddings").value_or(kContext);
  c.rms_norm_eps = static_cast<float>(get<double>(config, "layer_norm_epsilon").value_or(1e-5));
  c.tie_word_embeddings = get<bool>(config, "tie_word_embeddings").value_or(tied_by_default);
  StateSpaceConfig& s = c.state_space;
  s.conv_kernel = get<Index>(config, "conv_kernel").value_or(4);
  s.conv_bias = get<bool>(config, "use_conv_bias").value_or(true);
  s.projection_bias = get<bool>(config, "use_bias").value_or(false);
  s.norm_eps = c.rms_norm_eps;
  only_state_spaces(kind, c);
  return c;
}

ModelConfig mamba_from_json(const Json& config) {
  ModelConfig c = backbone_from_json(config, StateSpace::kMamba, true);
  StateSpaceConfig& s = c.state_space;
  s.inner_size = get<Index>(config, "intermediate_size")
                     .value_or(checked_product(get<Index>(config, "expand").value_or(2), c.hidden_size));
  s.state_size = get<Index>(config, "state_size").value_or(16);
  s.dt_rank = dt_rank_from_json(config, "time_step_rank", c.hidden_size);
  return c;
}

ModelConfig falcon_mamba_from_json(const Json& config) {
  ModelConfig c = mamba_from_json(config);
  c.state_space.dt_b_c_norm = true;
  c.state_space.norm_eps = static_cast<float>(get<double>(config, "mixer_rms_eps").value_or(1e-6));
  return c;
}

ModelConfig mamba2_from_json(const Json& config) {
  ModelConfig c = backbone_from_json(config, StateSpace::kMamba2, false);
  StateSpaceConfig& s = c.state_space;
  s.inner_size = checked_product(get<Index>(config, "expand").value_or(2), c.hidden_size);
  s.state_size = get<Index>(config, "state_size").value_or(128);
  s.heads = get<Index>(config, "num_heads").value_or(s.inner_size / 64);
  s.groups = get<Index>(config, "n_groups").value_or(1);
  s.gated_norm = get<bool>(config, "rms_norm").value_or(true);
  s.norm_before_gate = get<bool>(config, "norm_before_gate").value_or(false);
  if (const auto head_dim = get<Index>(config, "head_dim");
      head_dim && checked_product(*head_dim, s.heads) != s.inner_size)
    throw Error(ErrorKind::kInput, fmt::format("config.json: {} heads of {} are not expand * hidden_size = {}", s.heads,
                                               *head_dim, s.inner_size));
  if (const auto limits = numbers_from_json(config, "time_step_limit", 2)) {
    s.dt_min = static_cast<float>((*limits)[0]);
    s.dt_max = static_cast<float>(std::min((*limits)[1], static_cast<double>(s.dt_max)));
  }
  return c;
}

ModelConfig backbone_from_gguf(const GgufKeys& keys, StateSpace kind) {
  ModelConfig c = skeleton_from_gguf(keys);
  c.state_space = state_space_from_gguf(keys, kind);
  c.state_space.norm_eps = c.rms_norm_eps;
  only_state_spaces(kind, c);
  return c;
}

ModelConfig mamba_from_gguf(const GgufKeys& keys) { return backbone_from_gguf(keys, StateSpace::kMamba); }
ModelConfig mamba2_from_gguf(const GgufKeys& keys) { return backbone_from_gguf(keys, StateSpace::kMamba2); }

void backbone_to_json(const ModelConfig& c, Json& out) {
  const StateSpaceConfig& s = c.state_space;
  out["layer_norm_epsilon"] = c.rms_norm_eps;
  out["expand"] = s.inner_size / c.hidden_size;
  out["state_size"] = s.state_size;
  out["conv_kernel"] = s.conv_kernel;
  out["use_conv_bias"] = s.conv_bias;
  out["use_bias"] = s.projection_bias;
}

void mamba_to_json(const ModelConfig& c, Json& out) {
  backbone_to_json(c, out);
  out["intermediate_size"] = c.state_space.inner_size;
  out["time_step_rank"] = c.state_space.dt_rank;
  if (c.state_space.dt_b_c_norm) out["mixer_rms_eps"] = c.state_space.norm_eps;
}

void mamba2_to_json(const ModelConfig& c, Json& out) {
  const StateSpaceConfig& s = c.state_space;
  backbone_to_json(c, out);
  out["num_heads"] = s.heads;
  out["head_dim"] = s.inner_size / s.heads;
  out["n_groups"] = s.groups;
  out["rms_norm"] = s.gated_norm;
  out["norm_before_gate"] = s.norm_before_gate;
  out["time_step_limit"] = {s.dt_min, s.dt_max};
}

bool normalizes_steps(const ModelConfig& c) { return c.state_space.dt_b_c_norm; }

constexpr std::array<Family, 3> kFamilies = {
    {{"MambaForCausalLM", "mamba", mamba_from_json, mamba_from_gguf, "mamba", nullptr, mamba_to_json},
     {"FalconMambaForCausalLM", "mamba", falcon_mamba_from_json, mamba_from_gguf, "falcon_mamba", normalizes_steps,
      mamba_to_json},
     {"Mamba2ForCausalLM", "mamba2", mamba2_from_json, mamba2_from_gguf, "mamba2", nullptr, mamba2_to_json}}};

}  // namespace

std::span<const Family> mamba_families() { return kFamilies; }

std::optional<Json> mamba_from_native(const Json& config) {
  if (!config.contains("d_model") || !config.contains("ssm_cfg") || !config["ssm_cfg"].is_object()) return std::nullopt;
  const Json& ssm = config["ssm_cfg"];
  if (const auto attention = config.find("attn_layer_idx"); attention != config.end() && !attention->empty())
    not_supported("config.json of state-spaces: attention layers (attn_layer_idx)");
  if (get<Index>(config, "d_intermediate").value_or(0) != 0)
    not_supported("config.json of state-spaces: feed-forward layers (d_intermediate)");
  const bool two = get<std::string>(ssm, "layer").value_or("Mamba1") == "Mamba2";
  const Index multiple = std::max<Index>(1, get<Index>(config, "pad_vocab_size_multiple").value_or(8));
  Json out = {{"architectures", {two ? "Mamba2ForCausalLM" : "MambaForCausalLM"}},
              {"hidden_size", require(config, "d_model")},
              {"num_hidden_layers", require(config, "n_layer")},
              {"vocab_size", checked_product(checked_quotient(require(config, "vocab_size"), multiple), multiple)},
              {"tie_word_embeddings", get<bool>(config, "tie_embeddings").value_or(true)}};
  for (const auto& [theirs, ours] :
       {std::pair("d_state", "state_size"), std::pair("d_conv", "conv_kernel"), std::pair("expand", "expand"),
        std::pair("ngroups", "n_groups"), std::pair("dt_rank", "time_step_rank"), std::pair("headdim", "head_dim")}) {
    if (ssm.contains(theirs)) out[ours] = ssm[theirs];
  }
  if (two && ssm.contains("headdim")) {
    const Index head = std::max<Index>(1, require(ssm, "headdim"));
    out["num_heads"] = checked_product(get<Index>(ssm, "expand").value_or(2), require(config, "d_model")) / head;
  }
  return out;
}

}  // namespace jericho
