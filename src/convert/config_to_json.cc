// Key by key: see config_to_json.h.
#include "convert/config_to_json.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "convert/config_to_gguf.h"
#include "memory/file.h"
#include "models/families.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

// A float of a GGUF is the rounding of what somebody wrote in decimal: 1e-5, not 9.999999747378752e-06.
double as_written(double value) {
  const auto single = static_cast<float>(value);
  if (static_cast<double>(single) != value) return value;
  return std::stod(fmt::format("{}", single));
}

std::vector<float> read_divisors(const ModelFile& gguf, const std::string& name) {
  const TensorInfo* tensor = gguf.find(name);
  if (tensor == nullptr || tensor->dtype != DType::kF32 || tensor->elements() > 4096) return {};
  std::vector<float> values(static_cast<std::size_t>(tensor->elements()));
  const File file = File::open_read(gguf.files()[static_cast<std::size_t>(tensor->file)], FileCache::kUse);
  file.read_exactly(tensor->offset, std::as_writable_bytes(std::span(values)));
  return values;
}

// Llama 3's scaling from the divisors it gives: the largest is the factor; the rest is what Meta's models have.
RopeConfig scaling_of(const RopeConfig& rope, const std::vector<float>& divisors) {
  RopeConfig found = rope;
  found.scaling = RopeScaling::kLlama3;
  found.factor = std::round(static_cast<double>(*std::max_element(divisors.begin(), divisors.end())));
  found.low_freq_factor = 1;
  found.high_freq_factor = 4;
  for (Index original = 64; original <= Index{1} << 20; original *= 2) {
    found.original_max_position_embeddings = original;
    const std::vector<float> given = rope_divisors(found);
    const bool same = std::equal(given.begin(), given.end(), divisors.begin(), divisors.end(),
                                 [](float a, float b) { return std::abs(a - b) <= 1e-5f * std::abs(b); });
    if (same) return found;
  }
  throw Error(ErrorKind::kUnsupported, "rope_freqs.weight holds divisors that no llama3 scaling of config.json gives");
}

Json rope_scaling(const RopeConfig& rope) {
  switch (rope.scaling) {
    case RopeScaling::kNone: return nullptr;
    case RopeScaling::kLinear: return {{"rope_type", "linear"}, {"factor", rope.factor}};
    case RopeScaling::kLlama3:
      return {{"rope_type", "llama3"},
              {"factor", rope.factor},
              {"low_freq_factor", rope.low_freq_factor},
              {"high_freq_factor", rope.high_freq_factor},
              {"original_max_position_embeddings", rope.original_max_position_embeddings}};
    case RopeScaling::kYarn: {
      Json yarn = {{"rope_type", "yarn"},
                   {"factor", rope.factor},
                   {"beta_fast", rope.beta_fast},
                   {"beta_slow", rope.beta_slow},
                   {"original_max_position_embeddings", rope.original_max_position_embeddings}};
      if (rope.attention_factor) yarn["attention_factor"] = *rope.attention_factor;
      return yarn;
    }
    case RopeScaling::kLongRope:
      return {{"type", "longrope"}, {"short_factor", rope.short_factor}, {"long_factor", rope.long_factor}};
  }
  return nullptr;
}

const char* name_of(Activation activation) {
  switch (activation) {
    case Activation::kSilu: return "silu";
    case Activation::kGeluTanh: return "gelu_pytorch_tanh";
    case Activation::kRelu2: return "relu2";
  }
  return "silu";
}

void put_token_ids(const ModelFile& gguf, Json& out) {
  for (const char* name : {"bos", "eos"}) {
    if (const auto id = gguf.metadata().integer(fmt::format("tokenizer.ggml.{}_token_id", name)))
      out[fmt::format("{}_token_id", name)] = *id;
  }
}

}  // namespace

Json config_to_json(const ModelConfig& c, const ModelFile& gguf) {
  const Family& family = hugging_face_family(c);
  Json out = {{"architectures", {family.hugging_face}},
              {"model_type", family.model_type},
              {"hidden_size", c.hidden_size},
              {"num_hidden_layers", c.num_hidden_layers},
              {"vocab_size", c.vocab_size},
              {"max_position_embeddings", c.max_position_embeddings},
              {"rms_norm_eps", as_written(static_cast<double>(c.rms_norm_eps))},
              {"tie_word_embeddings", c.tie_word_embeddings},
              {"hidden_act", name_of(c.activation)}};
  if (c.intermediate_size > 0) out["intermediate_size"] = c.intermediate_size;
  if (c.attention_layers() > 0) {
    RopeConfig rope = c.rope;
    rope.theta = as_written(rope.theta);
    const std::vector<float> divisors =
        c.rope_divisors_in_file ? read_divisors(gguf, "rope_freqs.weight") : std::vector<float>();
    if (!divisors.empty()) rope = scaling_of(rope, divisors);
    if (rope.factors_in_file) {
      const auto wide = [](const std::vector<float>& factors) {
        return std::vector<double>(factors.begin(), factors.end());
      };
      rope.short_factor = wide(read_divisors(gguf, c.gguf_names.rope_short_divisors));
      rope.long_factor = wide(read_divisors(gguf, c.gguf_names.rope_long_divisors));
      out["original_max_position_embeddings"] = rope.original_max_position_embeddings;
    }
    out["num_attention_heads"] = c.num_attention_heads;
    out["num_key_value_heads"] = c.num_key_value_heads;
    out["head_dim"] = c.head_dim;
    out["attention_bias"] = c.attention_qkv_bias;
    out["mlp_bias"] = c.mlp_bias;
    out["rope_theta"] = rope.theta;
    out["rope_scaling"] = rope_scaling(rope);
    if (rope.dims != c.head_dim && c.latent.kv_lora_rank == 0)
      out["partial_rotary_factor"] = static_cast<double>(rope.dims) / static_cast<double>(c.head_dim);
    const auto windowed = std::find_if(c.layers.begin(), c.layers.end(), [](const auto& l) { return l.window > 0; });
    if (windowed != c.layers.end()) out["sliding_window"] = windowed->window;
  }
  put_token_ids(gguf, out);
  if (family.to_json != nullptr) family.to_json(c, out);
  return out;
}

}  // namespace jericho
