// The choice of experts: see moe.h. Plain code on every path: a few hundred values per token.
#include "ops/moe.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>

#include "base/check.h"
#include "kernels/exp.h"
#include "kernels/lanes.h"

namespace jericho {
namespace {

constexpr float kLeastSum = 1e-20f;  // added to the sum of the chosen weights, which sigmoid may leave at 0

void softmax(std::span<float> x) {
  const float most = *std::max_element(x.begin(), x.end());
  std::array<float, 16> lanes{};
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = ref::exp(x[i] - most);
    lanes[i % 16] += x[i];
  }
  const float total = sum_lanes(lanes);
  for (float& p : x) p /= total;
}

void sigmoid(std::span<float> x) {
  for (float& z : x) z = 1.0f / (1.0f + ref::exp(-z));
}

// What the choice goes by.
class Choices {
 public:
  Choices(std::span<const float> scores, std::span<const float> bias) : scores_(scores), bias_(bias) {}
  float operator[](std::size_t expert) const {
    const float choice = bias_.empty() ? scores_[expert] : scores_[expert] + bias_[expert];
    return choice == choice ? choice : -std::numeric_limits<float>::infinity();
  }

 private:
  std::span<const float> scores_, bias_;
};

float score_of_group(GroupScore kind, const Choices& choices, std::size_t begin, std::size_t end) {
  float first = choices[begin], second = -std::numeric_limits<float>::infinity();
  for (std::size_t e = begin + 1; e < end; ++e) {
    const float choice = choices[e];
    second = std::max(second, std::min(first, choice));
    first = std::max(first, choice);
  }
  return kind == GroupScore::kTopTwoSum && end - begin > 1 ? first + second : first;
}

// Is the group among the `kept` best?
bool keeps(std::span<const float> group_scores, Index kept, std::size_t group) {
  Index better = 0;
  for (std::size_t g = 0; g < group_scores.size(); ++g) {
    if (group_scores[g] > group_scores[group] || (group_scores[g] == group_scores[group] && g < group)) ++better;
  }
  return better < kept;
}

}  // namespace

void route_token(const RouterRule& rule, std::span<float> logits, std::span<const float> bias,
                 std::span<float> group_scores, std::span<std::int32_t> experts, std::span<float> weights) {
  const auto E = static_cast<std::size_t>(rule.experts), G = static_cast<std::size_t>(rule.groups);
  JERICHO_CHECK(logits.size() == E && (bias.empty() || bias.size() == E) && group_scores.size() == G,
                "{} logits for {}", logits.size(), E);
  if (rule.gating == Gating::kSoftmax) softmax(logits);
  if (rule.gating == Gating::kSigmoid) sigmoid(logits);
  const std::span<const float> scores = logits;
  const Choices choices(scores, bias);
  const std::size_t members = E / G;
  for (std::size_t g = 0; g < G; ++g)
    group_scores[g] = score_of_group(rule.group_score, choices, g * members, (g + 1) * members);

  // The best so far lie in `experts`, best first: a later one with an equal choice comes after.
  std::size_t found = 0;
  for (std::size_t g = 0; g < G; ++g) {
    if (!keeps(group_scores, rule.topk_groups, g)) continue;
    for (std::size_t e = g * members; e < (g + 1) * members; ++e) {
      std::size_t place = found;
      while (place > 0 && choices[e] > choices[static_cast<std::size_t>(experts[place - 1])]) --place;
      if (place == experts.size()) continue;
      found = std::min(found + 1, experts.size());
      std::copy_backward(experts.begin() + place, experts.begin() + found - 1, experts.begin() + found);
      experts[place] = static_cast<std::int32_t>(e);
    }
  }
  JERICHO_CHECK(found == experts.size(), "{} experts of {}", found, experts.size());

  std::sort(experts.begin(), experts.end());
  float total = 0;
  for (std::size_t j = 0; j < experts.size(); ++j) {
    weights[j] = scores[static_cast<std::size_t>(experts[j])];
    total += weights[j];
  }
  for (float& weight : weights) {
    if (rule.normalize) weight /= total + kLeastSum;
    weight *= rule.scale;
  }
}

void route(const Context& context, const RouterRule& rule, MatrixView<float> logits, std::span<const float> bias,
           MatrixView<float> group_scores, const Routing& routing) {
  const auto token = [&](Index t, int) {
    route_token(rule, logits.row(t), bias, group_scores.row(t), routing.experts.row(t), routing.weights.row(t));
  };
  context.pool.run(logits.extent(0), std::ref(token));
}

void add_expert_rows(const Context& context, MatrixView<const float> weights, MatrixView<const std::int32_t> places,
                     Index first, MatrixView<const float> rows, MatrixView<float> out) {
  const auto token = [&](Index t, int) {
    for (Index j = 0; j < places.extent(1); ++j) {
      const Index row = places(t, j) - first;
      if (row < 0 || row >= rows.extent(0)) continue;
      const float weight = weights(t, j);
      for (Index c = 0; c < out.extent(1); ++c) out(t, c) += weight * rows(row, c);
    }
  };
  context.pool.run(out.extent(0), std::ref(token));
}

}  // namespace jericho
