// Which experts a token uses, and with which weights: the router of mixtures of experts (Shazeer et al. 2017,
// arXiv:1701.06538; Mixtral: arXiv:2401.04088, section 2.1; groups: DeepSeek-V2, arXiv:2405.04434, section 2.1.2;
// sigmoid scores with a bias for the choice only: DeepSeek-V3, arXiv:2412.19437, section 2.1.2). fp32 throughout,
// definition in docs/numerics.md 5. Differs from transformers' code of DeepSeek-V3: experts outside the kept groups can
// never be chosen, also where a bias makes all others negative. Start at route(); add_expert_rows() is what becomes of
// the weights.
#pragma once

#include <cstdint>
#include <span>

#include "base/index.h"
#include "ops/context.h"
#include "tensor/view.h"

namespace jericho {

enum class Gating { kSoftmax, kSigmoid };    // of the logits, over all experts
enum class GroupScore { kMax, kTopTwoSum };  // of the choices in a group; a group of one has its only choice

struct RouterRule {
  Index experts = 0;
  Index experts_per_token = 0;
  Gating gating = Gating::kSoftmax;
  bool normalize = false;  // the chosen weights are divided by their sum
  float scale = 1;         // then multiplied with this
  Index groups = 1;        // equal parts of the experts; only those of the topk_groups best may be chosen
  Index topk_groups = 1;
  GroupScore group_score = GroupScore::kMax;
};

struct Routing {  // views: the chosen experts of each token in ascending order, and their weights
  MatrixView<std::int32_t> experts{nullptr, 0, 0};  // [T, experts_per_token]
  MatrixView<float> weights{nullptr, 0, 0};         // [T, experts_per_token]
};

// One token: logits [experts] become the scores; bias [experts] or empty; group_scores [groups] is working space. Equal
// choices go to the lower index, of groups as of experts; a choice that is NaN counts as -infinity. topk_groups groups
// hold at least experts_per_token experts.
void route_token(const RouterRule& rule, std::span<float> logits, std::span<const float> bias,
                 std::span<float> group_scores, std::span<std::int32_t> experts, std::span<float> weights);

// Every row of logits [T, experts] on its own, split over the pool; group_scores [T, groups].
void route(const Context& context, const RouterRule& rule, MatrixView<float> logits, std::span<const float> bias,
           MatrixView<float> group_scores, const Routing& routing);

// out[t] += weights[t,j] * rows[places[t,j] - first], j ascending, for the places within [first, first + rows): what
// some of the experts found. Split over the pool by t.
void add_expert_rows(const Context& context, MatrixView<const float> weights, MatrixView<const std::int32_t> places,
                     Index first, MatrixView<const float> rows, MatrixView<float> out);

}  // namespace jericho
