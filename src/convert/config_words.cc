// Words from the keys of a GGUF and from what has none; read back for the comparison: see config_words.h.
#include "convert/config_words.h"

#include <span>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "convert/config_to_gguf.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "formats/model_file.h"
#include "models/families.h"

namespace jericho {
namespace {

std::string rope_word(LayerRope rope) {
  return rope == LayerRope::kNone ? "none" : rope == LayerRope::kLocal ? "local" : "global";
}

std::string layer_words(const LayerConfig& layer) {
  return fmt::format("attention {} state space {} feed-forward {} window {} rope {}", layer.attention,
                     static_cast<int>(layer.state_space), static_cast<int>(layer.feed_forward), layer.window,
                     layer.attention ? rope_word(layer.rope) : "none");
}

}  // namespace

std::map<std::string, std::string> config_words(const ModelConfig& c) {
  std::map<std::string, std::string> words;
  GgufWriter keys;
  write_gguf_config(c, "", keys);
  for (const auto& [key, value] : keys.key_values())
    words[key.substr(1)] = std::visit([](const auto& v) { return fmt::format("{}", v); }, value);
  for (std::size_t i = 0; i < c.layers.size(); ++i) words[fmt::format("layer {}", i)] = layer_words(c.layers[i]);
  const auto put = [&](const char* name, const auto& value) { words[name] = fmt::format("{}", value); };
  put("tied embeddings", c.tie_word_embeddings);
  put("layer passes", c.layer_passes);
  put("activation", static_cast<int>(c.activation));
  put("norms of q and k", static_cast<int>(c.qk_norm));
  put("norms behind blocks", c.post_norms);
  put("norms inside blocks", c.sub_norms);
  put("scale of attention", c.attention_scale);
  put("scale of the embedding", c.embedding_scale);
  put("scale of residuals", c.residual_scale);
  put("scale of logits", c.logit_scale);
  put("biases", fmt::format("{} {} {}", c.attention_qkv_bias, c.attention_output_bias, c.mlp_bias));
  if (c.moe.experts > 0) {
    put("experts' bias", c.moe.selection_bias);
    put("experts' shared gate", c.moe.shared_gate);
    put("experts' group score", c.moe.groups > 1 ? static_cast<int>(c.moe.group_score) : 0);
  }
  if (c.state_space.heads > 0) {
    put("state space: gated norm", c.state_space.gated_norm);
    if (c.state_space.gated_norm) put("state space: norm before the gate", c.state_space.norm_before_gate);
    put("state space: time step", fmt::format("{} to {}", c.state_space.dt_min, c.state_space.dt_max));
  }
  return words;
}

std::vector<std::string> lost_in_gguf(const ModelConfig& config, const std::vector<OutputTensor>& tensors) {
  GgufWriter writer;
  const std::string architecture = gguf_architecture(config.architecture);
  writer.set("general.architecture", architecture);
  write_gguf_config(config, architecture, writer);
  for (const OutputTensor& tensor : tensors) writer.add_tensor(tensor.name, tensor.dtype, tensor.shape);
  std::ostringstream out;
  writer.begin(out);
  const std::string header = out.str();
  GgufHeader parsed = parse_gguf_header(std::as_bytes(std::span(header)), writer.file_size().count);
  const ModelFile file({.format = ModelFormat::kGguf,
                        .path = "the GGUF to be written",
                        .files = {"the GGUF to be written"},
                        .tensors = std::move(parsed.tensors),
                        .metadata = std::move(parsed.metadata)},
                       nullptr);
  const auto meant = config_words(config), read = config_words(read_config(file));
  std::vector<std::string> lost;
  for (const auto& [key, value] : meant) {
    const auto there = read.find(key);
    if (there == read.end() || there->second != value) lost.push_back(fmt::format("{} {}", key, value));
  }
  return lost;
}

}  // namespace jericho
