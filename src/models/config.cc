// What a configuration must satisfy before anything is computed from it.
#include "models/config.h"

#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {

void ModelConfig::validate() const {
  const auto expect = [&](bool holds, const std::string& message) {
    if (!holds) throw Error(ErrorKind::kInput, fmt::format("configuration of {}: {}", architecture, message));
  };
  const auto in_range = [&](std::string_view field, Index value, Index highest) {
    expect(value >= 1 && value <= highest, fmt::format("{} is {}, expected 1 to {}", field, value, highest));
  };
  in_range("hidden_size", hidden_size, 1 << 20);
  in_range("intermediate_size", intermediate_size, 1 << 22);
  in_range("num_hidden_layers", num_hidden_layers, 4096);
  in_range("num_attention_heads", num_attention_heads, 1 << 14);
  in_range("num_key_value_heads", num_key_value_heads, 1 << 14);
  in_range("head_dim", head_dim, 512);
  in_range("vocab_size", vocab_size, 1 << 24);
  in_range("max_position_embeddings", max_position_embeddings, Index{1} << 31);
  expect(num_attention_heads % num_key_value_heads == 0,
         fmt::format("{} attention heads cannot share {} key-value heads evenly", num_attention_heads,
                     num_key_value_heads));
  expect(rope.dims >= 2 && rope.dims <= head_dim && rope.dims % 2 == 0,
         fmt::format("{} rotary dimensions do not fit a head of {}", rope.dims, head_dim));
  expect(std::isfinite(rope.theta) && rope.theta >= 1,
         fmt::format("rope_theta is {}, expected at least 1", rope.theta));
  expect(std::isfinite(rope.factor) && rope.factor > 0,
         fmt::format("rope scaling factor is {}, expected above 0", rope.factor));
  expect(std::isfinite(rms_norm_eps) && rms_norm_eps >= 0,
         fmt::format("rms_norm_eps is {}, expected 0 or more", rms_norm_eps));
  const bool scaled = rope.scaling == RopeScaling::kLlama3 || rope.scaling == RopeScaling::kYarn;
  expect(!scaled || rope.original_max_position_embeddings > 0,
         "rope scaling needs original_max_position_embeddings, which is missing");
  for (const Index w : window) expect(w >= 0, fmt::format("sliding window is {}, expected 0 (none) or more", w));
}

}  // namespace jericho
