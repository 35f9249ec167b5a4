// Sums over the weights: see speed.h.
#include "plan/speed.h"

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/attention.h"

namespace jericho {

namespace {

void count_operations(const WeightLayout& weights, double head_share, TokenCost& cost) {
  std::array<double, 3> by_kind{};  // kInt8, kBF16, kF32
  for (const WeightPlacement& p : weights.placements()) {
    if (!p.spec.is_matrix()) continue;
    const std::string& name = p.spec.name(ModelFormat::kGguf);
    const bool head = name == "token_embd.weight" || name == "output.weight";
    const double share = p.spec.read_per_token * (head ? head_share : 1);
    const double parameters = static_cast<double>(p.spec.rows * p.spec.cols) * share;
    by_kind[static_cast<std::size_t>(multiplied_by(p.dtype))] += 2 * parameters;
    cost.operations += 2 * parameters;
  }
  cost.kind = static_cast<PeakKind>(std::max_element(by_kind.begin(), by_kind.end()) - by_kind.begin());
}

// What a token at this depth reads of keys and values, and of the bounds of those it does not.
double kv_bytes_read(const Plan& plan, double depth) {
  const auto all = static_cast<double>(plan.kv.bytes_per_token().count);
  if (!plan.selection) return all * depth;
  const KvSelect& select = plan.selection->select;
  const auto layers = static_cast<double>(plan.kv.layers);
  const auto selecting =
      static_cast<double>(std::count(plan.selection->layers.begin(), plan.selection->layers.end(), true));
  const double read = std::min(depth, static_cast<double>(select.sinks + select.tokens));
  const double bounds =
      select.method == KvMethod::kQuest
          ? selecting * static_cast<double>(plan.kv.kv_heads * plan.kv.head_dim * 2 * 4) / kAttentionBlock
          : 0;
  // Of h2o: keys, once more for the votes.
  const double votes =
      select.method == KvMethod::kH2O
          ? selecting * static_cast<double>(plan.kv.kv_heads * kv_row_bytes(plan.kv.type.keys, plan.kv.head_dim).count)
          : 0;
  return all * ((layers - selecting) * depth + selecting * read) / layers + bounds * depth + votes * read;
}

}  // namespace

double disk_bytes_of_pass(const WeightResidency& weights, double tokens) {
  return static_cast<double>(weights.read_per_pass.count) + static_cast<double>(weights.read_per_token.count) * tokens +
         weights.experts.read_per_pass(tokens);
}

double cold_bytes_of_step(const Plan& plan, const ModelConfig& config, Index depth) {
  if (plan.cold.group_pages == 0) return 0;
  const Index own = plan.pages / plan.sequences;  // pages in RAM
  const Index beyond = std::max<Index>(0, ceil_div(depth, kPageTokens) - own);
  const Index cold = std::min(ceil_div(beyond, plan.cold.group_pages), depth / kPageTokens / plan.cold.group_pages);
  Index blocks = 0;
  for (const LayerConfig& layer : config.layers) {
    if (!layer.attention) continue;
    const Index first = QueryTokens{depth - 1, layer.window, 1}.begin(0) / (plan.cold.group_pages * kPageTokens);
    blocks += config.layer_passes * std::max<Index>(0, cold - first);
  }
  return static_cast<double>((plan.cold.scratch.block_bytes * (plan.sequences * blocks)).count);
}

TokenCost decode_cost(const WeightLayout& weights, const Plan& plan, double batch, double depth) {
  TokenCost cost;
  count_operations(weights, 1, cost);
  cost.bytes = static_cast<double>(weights.bytes_per_token().count) / batch + kv_bytes_read(plan, depth) +
               static_cast<double>(plan.state.bytes_per_sequence().count);
  cost.disk_bytes = disk_bytes_of_pass(plan.weights, batch) / batch;
  return cost;
}

TokenCost prefill_cost(const WeightLayout& weights, const Plan& plan, Index tokens, Index chunk, double depth,
                       double head_share) {
  TokenCost cost;
  count_operations(weights, head_share, cost);
  const auto together = static_cast<double>(std::clamp<Index>(tokens, 1, std::max<Index>(chunk, 1)));
  const double mean_depth = depth + static_cast<double>(tokens) / 2;
  cost.bytes = (static_cast<double>(weights.bytes_per_token().count) +
                static_cast<double>(plan.kv.bytes_per_token().count) * mean_depth +
                static_cast<double>(plan.state.bytes_per_sequence().count)) /
               together;
  cost.disk_bytes = disk_bytes_of_pass(plan.weights, together) / together;
  return cost;
}

std::optional<Held> hold(double tokens_per_second, const TokenCost& cost, const std::optional<Roof>& read,
                         const std::optional<Roof>& multiply, const std::optional<Roof>& disk) {
  std::vector<Demand> demands;
  if (read) demands.push_back({*read, tokens_per_second * cost.bytes});
  if (multiply) demands.push_back({*multiply, tokens_per_second * cost.operations});
  if (disk) demands.push_back({*disk, tokens_per_second * cost.disk_bytes});
  return hold(demands);
}

}  // namespace jericho
