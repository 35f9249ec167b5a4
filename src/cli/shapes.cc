// Llama-like shapes of round sizes: see shapes.h.
#include "cli/shapes.h"

#include <array>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace jericho::cli {
namespace {

struct Shape {
  std::string_view name;
  Index hidden, intermediate, layers, heads, kv_heads, vocab;
};

constexpr std::array<Shape, 6> kShapes = {{{"58m", 512, 1408, 8, 8, 8, 32000},
                                           {"350m", 1024, 2816, 24, 16, 16, 32000},
                                           {"1b", 2048, 8192, 16, 32, 8, 32000},
                                           {"3b", 3072, 8192, 28, 24, 8, 128256},
                                           {"7b", 4096, 11008, 32, 32, 32, 32000},
                                           {"8b", 4096, 14336, 32, 32, 8, 128256}}};

}  // namespace

std::string shape_names() {
  std::vector<std::string_view> names;
  for (const Shape& shape : kShapes) names.push_back(shape.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

ModelConfig shape_named(const std::string& name) {
  for (const Shape& shape : kShapes) {
    if (shape.name != name) continue;
    ModelConfig config;
    config.architecture = fmt::format("random weights of shape {}", name);
    config.hidden_size = shape.hidden;
    config.intermediate_size = shape.intermediate;
    config.num_hidden_layers = shape.layers;
    config.num_attention_heads = shape.heads;
    config.num_key_value_heads = shape.kv_heads;
    config.head_dim = shape.hidden / shape.heads;
    config.vocab_size = shape.vocab;
    config.max_position_embeddings = 131072;
    config.rms_norm_eps = 1e-5f;
    config.rope.dims = config.head_dim;
    config.layers.assign(static_cast<std::size_t>(shape.layers), {});
    config.validate();
    return config;
  }
  throw Error(ErrorKind::kUsage, fmt::format("--shape {}: expected one of {}", name, shape_names()));
}

}  // namespace jericho::cli
