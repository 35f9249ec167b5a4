// Names that configurations use, and what each becomes: see guessed_shape.h.
#include "audit/guessed_shape.h"

#include <initializer_list>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/config_reading.h"

namespace jericho {
namespace {

using Json = nlohmann::json;
using Names = std::initializer_list<const char*>;

class Guess {
 public:
  explicit Guess(const Json& json) : j_(json) {}

  GuessedShape read() {
    ModelConfig& c = shape_.config;
    c.hidden_size = needed({"hidden_size", "dim", "d_model", "n_embd"});
    c.num_hidden_layers = checked_layers(needed({"num_hidden_layers", "n_layers", "n_layer", "num_layers"}));
    c.vocab_size = needed({"vocab_size"});
    c.intermediate_size =
        size({"intermediate_size", "hidden_dim", "inter_dim", "d_ff"}).value_or(checked_product(4, c.hidden_size));
    c.num_attention_heads = needed({"num_attention_heads", "n_heads", "n_head"});
    c.num_key_value_heads = size({"num_key_value_heads", "n_kv_heads"}).value_or(c.num_attention_heads);
    c.head_dim = size({"head_dim", "attention_head_dim"})
                     .value_or(c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0);
    c.max_position_embeddings = size({"max_position_embeddings", "max_seq_len", "n_positions"}).value_or(kContext);
    c.tie_word_embeddings = get<bool>(j_, "tie_word_embeddings").value_or(false);
    c.attention_qkv_bias = get<bool>(j_, "attention_bias").value_or(false);
    c.rope.dims = c.head_dim / 2 * 2;
    c.layers.assign(static_cast<std::size_t>(c.num_hidden_layers), {});
    latent();
    experts();
    state_spaces();
    if (!pattern()) layer_types();
    note("sizes are read, the architecture is not: biases, norms and small parts may be missing, and it cannot be run");
    c.validate();
    return std::move(shape_);
  }

 private:
  static constexpr Index kContext = 8192;  // where a file does not say

  [[nodiscard]] std::optional<Index> size(Names names) const {
    for (const char* name : names) {
      if (const auto value = get<Index>(j_, name)) return value;
    }
    return std::nullopt;
  }
  [[nodiscard]] Index needed(Names names) const {
    if (const auto value = size(names)) return *value;
    throw Error(ErrorKind::kInput, fmt::format("config.json: '{}' is missing", *names.begin()));
  }
  void note(std::string text) { shape_.notes.push_back(std::move(text)); }

  void latent() {
    LatentConfig& m = shape_.config.latent;
    m.kv_lora_rank = size({"kv_lora_rank"}).value_or(0);
    if (m.kv_lora_rank == 0) return;
    m.q_lora_rank = size({"q_lora_rank"}).value_or(0);
    m.nope_dim = needed({"qk_nope_head_dim"});
    m.rope_dim = needed({"qk_rope_head_dim"});
    m.value_dim = needed({"v_head_dim"});
    shape_.config.rope.dims = m.rope_dim;
  }

  void experts() {
    ModelConfig& c = shape_.config;
    const auto count = size({"num_experts", "num_local_experts", "n_routed_experts"});
    if (!count || *count <= 1) return;
    MoeConfig& m = c.moe;
    m.experts = *count;
    m.experts_per_token = needed({"num_experts_per_tok", "experts_per_token", "n_activated_experts", "top_k_experts"});
    m.intermediate_size = size({"moe_intermediate_size", "moe_inter_dim"}).value_or(c.intermediate_size);
    const Index shared = size({"n_shared_experts"}).value_or(0);
    m.shared_intermediate_size = size({"shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"})
                                     .value_or(shared > 0 ? checked_product(shared, m.intermediate_size) : 0);
    if (get<bool>(j_, "enable_moe_block").value_or(false)) m.shared_intermediate_size = c.intermediate_size;
    const Index dense = size({"first_k_dense_replace", "n_dense_layers"}).value_or(0);
    Index n = 0;
    for (LayerConfig& layer : c.layers) layer.feed_forward = n++ < dense ? FeedForward::kDense : FeedForward::kExperts;
  }

  void state_spaces() {
    ModelConfig& c = shape_.config;
    StateSpaceConfig& s = c.state_space;
    if (const auto heads = size({"mamba_num_heads"})) {
      s.heads = *heads;
      s.inner_size = checked_product(*heads, needed({"mamba_head_dim"}));
      s.state_size = needed({"ssm_state_size"});
      s.conv_kernel = size({"conv_kernel"}).value_or(4);
      s.groups = size({"n_groups"}).value_or(1);
    } else if (const auto values = size({"linear_num_value_heads"})) {  // a delta rule's state is keys x values, too
      s.heads = *values;
      s.inner_size = checked_product(*values, needed({"linear_value_head_dim"}));
      s.state_size = needed({"linear_key_head_dim"});
      s.conv_kernel = size({"linear_conv_kernel_dim"}).value_or(4);
      s.groups = size({"linear_num_key_heads"}).value_or(1);
    }
  }

  // "M-M*E": one letter per part: a state space, attention, dense or experts. A mixer and what follows it are one layer
  // here.
  bool pattern() {
    const auto text = get<std::string>(j_, "hybrid_override_pattern");
    if (!text) return false;
    ModelConfig& c = shape_.config;
    if (text->empty() || text->size() > 4096)
      throw Error(ErrorKind::kInput, "config.json: hybrid_override_pattern has no sensible length");
    c.layers.clear();
    for (const char part : *text) {
      if (part == 'M' || part == '*') {
        c.layers.push_back({.attention = part == '*',
                            .state_space = part == 'M' ? StateSpace::kMamba2 : StateSpace::kNone,
                            .feed_forward = FeedForward::kNone});
      } else if ((part == '-' || part == 'E') && !c.layers.empty()) {
        c.layers.back().feed_forward = part == '-' ? FeedForward::kDense : FeedForward::kExperts;
      } else {
        throw Error(ErrorKind::kInput,
                    fmt::format("config.json: hybrid_override_pattern has '{}', expected M, *, - and E", part));
      }
    }
    c.num_hidden_layers = static_cast<Index>(c.layers.size());
    // Its feed-forward has two matrices, not three.
    for (Index* width : {&c.intermediate_size, &c.moe.intermediate_size, &c.moe.shared_intermediate_size})
      *width = *width * 2 / 3;
    return true;
  }

  void layer_types() {
    ModelConfig& c = shape_.config;
    const auto types = j_.find("layer_types");
    if (types == j_.end() || !types->is_array()) return;
    if (types->size() < c.layers.size()) {
      throw Error(ErrorKind::kInput, fmt::format("config.json: layer_types has {} entries, there are {} layers",
                                                 types->size(), c.layers.size()));
    }
    if (types->size() > c.layers.size()) note("layer_types has more entries than there are layers: the first count");
    const Index window = size({"sliding_window", "attention_chunk_size"}).value_or(0);
    for (std::size_t n = 0; n < c.layers.size(); ++n) {
      const std::string type = (*types)[n].is_string() ? (*types)[n].get<std::string>() : "";
      LayerConfig& layer = c.layers[n];
      if (type.starts_with("sliding") || type.starts_with("chunked")) layer.window = window;
      if (type != "linear_attention" && type != "conv") continue;
      layer.attention = false;
      layer.state_space = StateSpace::kMamba2;
      if (type == "conv" && c.state_space.inner_size == 0) short_convolution();
    }
  }

  // A gated convolution has a few inputs per channel for state.
  void short_convolution() {
    ModelConfig& c = shape_.config;
    c.state_space = {.inner_size = c.hidden_size, .state_size = 1, .conv_kernel = 3, .heads = 1, .gated_norm = false};
    note("its short convolutions are counted as small state spaces");
  }

  const Json& j_;
  GuessedShape shape_{};
};

}  // namespace

GuessedShape guess_shape(const Json& config) {
  if (!config.is_object()) throw Error(ErrorKind::kInput, "config.json: expected an object");
  const auto text = config.find("text_config");
  const bool nested = text != config.end() && text->is_object();
  GuessedShape shape = Guess(nested ? *text : config).read();
  const auto names = config.find("architectures");
  const bool named = names != config.end() && names->is_array() && !names->empty() && names->front().is_string();
  shape.config.architecture = named ? names->front().get<std::string>() : "of no known name";
  if (nested) shape.notes.emplace_back("only the text model is counted");
  return shape;
}

}  // namespace jericho
