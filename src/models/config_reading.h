// What the families' readers share: typed access to config.json and to the metadata of a GGUF, and the Llama-like
// baseline of each, from which most families differ by a few fields. Start at decoder_from_json() and
// decoder_from_gguf().
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/model_file.h"
#include "models/config.h"

namespace jericho {

[[noreturn]] void wrong_type(const char* key, const nlohmann::json& value);
[[noreturn]] void not_supported(const std::string& what);  // Error(kUnsupported): "... is not supported yet"

// A member of the expected type; absent and null count the same. Error(kInput) for another type.
template <class T>
std::optional<T> get(const nlohmann::json& config, const char* key) {
  const auto member = config.find(key);
  if (member == config.end() || member->is_null()) return std::nullopt;
  const bool fits = std::is_same_v<T, bool>          ? member->is_boolean()
                    : std::is_same_v<T, std::string> ? member->is_string()
                    : std::is_same_v<T, Index>       ? member->is_number_integer()
                                                     : member->is_number();
  if (!fits) wrong_type(key, *member);
  return member->get<T>();
}

// Error(kInput) where it is missing.
Index require(const nlohmann::json& config, const char* key);

// What every decoder has: sizes, norms, tied embeddings, num_hidden_layers layers of the default kind, and the
// activation. No heads, no rope, no feed-forward.
ModelConfig skeleton_from_json(const nlohmann::json& config);
// The skeleton with a Llama's attention, rope and feed-forward.
ModelConfig decoder_from_json(const nlohmann::json& config);

// A list of `count` numbers; nothing where it is absent. Error(kInput) for anything else.
std::optional<std::vector<double>> numbers_from_json(const nlohmann::json& config, const char* key, std::size_t count);
// The rank of Mamba's time steps: a number, or "auto" or absent: ceil(hidden_size / 16).
Index dt_rank_from_json(const nlohmann::json& config, const char* key, Index hidden_size);
// a b of sizes from outside, or 0, which validate() refuses, where it is beyond any model.
Index checked_product(Index a, Index b);
// a / b, rounded up, in the same way.
Index checked_quotient(Index a, Index b);
// Calls the weights of a state space PREFIX.in_proj and so on.
void name_state_space(WeightNames& names, const std::string& prefix);

// rope_theta and rope_scaling, or the rope_parameters of transformers 5, for heads of `head_dim`.
RopeConfig rope_from_json(const nlohmann::json& config, Index head_dim, Index max_position_embeddings);
// The same from an object of rope parameters, such as rope_scaling itself.
void read_rope_parameters(const nlohmann::json& parameters, Index max_position_embeddings, RopeConfig& rope);

// The metadata of one architecture.
class GgufKeys {
 public:
  explicit GgufKeys(const ModelFile& file);
  [[nodiscard]] const std::string& architecture() const { return architecture_; }
  [[nodiscard]] std::string key(std::string_view suffix) const;
  [[nodiscard]] std::optional<Index> integer(std::string_view suffix) const;
  [[nodiscard]] std::optional<double> number(std::string_view suffix) const;
  [[nodiscard]] std::optional<bool> boolean(std::string_view suffix) const;
  [[nodiscard]] Index require_integer(std::string_view suffix) const;
  [[nodiscard]] bool is_array(std::string_view suffix) const;
  [[nodiscard]] const std::string* text(std::string_view suffix) const;
  [[nodiscard]] const ModelFile& file() const { return file_; }

 private:
  const ModelFile& file_;
  std::string architecture_;
};

ModelConfig skeleton_from_gguf(const GgufKeys& keys);
ModelConfig decoder_from_gguf(const GgufKeys& keys);
// The keys ssm.*; norms and biases by the tensors of the first layer with a state space.
StateSpaceConfig state_space_from_gguf(const GgufKeys& keys, StateSpace kind);

// The rope.* keys, for heads of `head_dim`.
RopeConfig rope_from_gguf(const GgufKeys& keys, Index head_dim, Index max_position_embeddings);

// "linear", "llama3", "yarn", "longrope"/"su" and the words for none. Error(kUnsupported) naming `where` for another.
RopeScaling scaling_named(const std::string& type, const std::string& where);

// Error(kInput) unless 1 to 4096: asked before anything is sized by it.
Index checked_layers(Index num_hidden_layers);

}  // namespace jericho
