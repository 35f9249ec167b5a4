// Families without golden logits against an independent forward pass in double (support/reference_decoder.h): toy
// models read from the config.json of each, with random matrices, norms and biases.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/reference_decoder.h"
#include "support/whole_model.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

Json toy(const char* architecture, const Json& beside) {
  Json config = {{"architectures", {architecture}},
                 {"hidden_size", 96},
                 {"intermediate_size", 128},
                 {"num_hidden_layers", 4},
                 {"num_attention_heads", 6},
                 {"num_key_value_heads", 2},
                 {"vocab_size", 97},
                 {"max_position_embeddings", 256}};
  config.update(beside);
  return config;
}

struct FamilyCase {
  const char* name;
  Json config;
  Index context = 64;  // asked for
};
void PrintTo(const FamilyCase& c, std::ostream* out) { *out << c.name; }

Json longrope() {
  Json scaling = {{"type", "longrope"}};
  for (int i = 0; i < 6; ++i) scaling["short_factor"].push_back(1 + 0.1 * i), scaling["long_factor"].push_back(2 + i);
  return {{"rope_scaling", scaling},
          {"original_max_position_embeddings", 128},
          {"partial_rotary_factor", 0.75},
          {"sliding_window", 17}};
}

std::vector<FamilyCase> cases() {
  const Json experts = {{"num_experts", 7}, {"num_experts_per_tok", 3}, {"moe_intermediate_size", 64}};
  Json qwen2_moe = experts, qwen3_moe = experts, olmoe = experts;
  qwen2_moe.update({{"shared_expert_intermediate_size", 160}, {"mlp_only_layers", {2}}});
  qwen3_moe.update({{"norm_topk_prob", true}, {"head_dim", 32}, {"decoder_sparse_step", 2}});
  olmoe.update({{"num_key_value_heads", 6}, {"clip_qkv", 1.5}});
  return {{"mixtral", toy("MixtralForCausalLM", {{"sliding_window", 9}})},
          {"qwen2_moe", toy("Qwen2MoeForCausalLM", qwen2_moe)},
          {"qwen3_moe", toy("Qwen3MoeForCausalLM", qwen3_moe)},
          {"olmoe", toy("OlmoeForCausalLM", olmoe)},
          {"granite", toy("GraniteForCausalLM", {{"embedding_multiplier", 12},
                                                 {"residual_multiplier", 0.22},
                                                 {"attention_multiplier", 0.4},
                                                 {"logits_scaling", 8}})},
          {"granite_moe", toy("GraniteMoeForCausalLM", {{"embedding_multiplier", 12},
                                                        {"residual_multiplier", 0.22},
                                                        {"attention_multiplier", 0.4},
                                                        {"logits_scaling", 8},
                                                        {"num_local_experts", 7},
                                                        {"num_experts_per_tok", 3}})},
          {"smollm3", toy("SmolLM3ForCausalLM", {{"no_rope_layers", {1, 0, 1, 0}}})},
          {"bitnet", toy("BitNetForCausalLM", {{"hidden_act", "relu2"}})},
          {"mobilellm", toy("MobileLLMForCausalLM", {{"layer_sharing", true}, {"share_embedding", true}})},
          {"phi3", toy("Phi3ForCausalLM", {{"sliding_window", nullptr}})},
          {"phi3_short", toy("Phi3ForCausalLM", longrope())},
          {"phi3_long", toy("Phi3ForCausalLM", longrope()), 200}};
}

// A model whose norms and biases are random too, so that none can be forgotten.
WholeModel model_of(const Context& context, const ModelConfig& config) {
  WholeModel model = WholeModel::random(context, config, DType::kF32);
  std::mt19937 random(3);
  const std::span<const std::byte> bytes = model.model->weights().bytes();
  for (const WeightPlacement& p : model.layout.placements()) {
    auto* values = const_cast<float*>(reinterpret_cast<const float*>(bytes.data() + p.offset.count));
    const float spread = p.spec.is_matrix() ? 12.0f : 0.5f;
    for (Index i = 0; i < p.size.count / 4; ++i) {
      if (p.spec.is_matrix()) values[i] *= spread;  // logits of the router far apart
      if (!p.spec.is_matrix()) values[i] += spread * (static_cast<float>(random() % 1000) / 1000 - 0.5f);
    }
  }
  return model;
}

// max over rows of max |a - b| / max |b|
double distance(std::span<const float> actual, const ReferenceDecoder::Rows& expected) {
  double r = 0;
  for (std::size_t t = 0; t < expected.size(); ++t) {
    double difference = 0, largest = 0;
    for (std::size_t i = 0; i < expected[t].size(); ++i) {
      const double found{actual[t * expected[t].size() + i]};
      difference = std::isfinite(found) ? std::max(difference, std::abs(found - expected[t][i])) : found;
      largest = std::max(largest, std::abs(expected[t][i]));
    }
    r = std::max(r, difference / largest);
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
  }
  return r;
}

constexpr double kTolerance = 2e-5;

class FamilyReference : public testing::TestWithParam<FamilyCase> {};

TEST_P(FamilyReference, GivesTheLogitsOfTheFormulasInDouble) {
  const TestMachine machine;
  const WholeModel model = model_of(machine.context, config_from_json(GetParam().config));
  const Plan plan = model.plan(
      machine.context, {.context = GetParam().context, .kv_type = KvType::kF32, .chunk = 16, .all_logits = true});
  const std::vector<TokenId> tokens = random_tokens(40, model.config().vocab_size, 5);
  Session session(machine.context, *model.model, plan, KvBacking::kPopulate);
  const std::vector<float> actual = logits_of(session, session.open(), tokens);
  const ReferenceDecoder reference(model.config(), model.model->weights().views(), plan.long_context);
  const double r = distance(actual, reference.logits(tokens));
  EXPECT_LE(r, kTolerance);
  RecordProperty("r", fmt::format("{:.2e}", r));
}

INSTANTIATE_TEST_SUITE_P(, FamilyReference, testing::ValuesIn(cases()),
                         [](const auto& test) { return std::string(test.param.name); });

struct Mistake {  // one that a reader of a family could make
  const char* family;
  void (*make)(ModelConfig& config);
};

TEST(FamilyReferenceControl, SeesEveryFeatureThatIsForgotten) {
  const TestMachine machine;
  const std::vector<Mistake> mistakes = {
      {"mixtral", [](ModelConfig& c) { c.moe.normalize = false; }},
      {"mixtral", [](ModelConfig& c) { c.layers[0].window = 10; }},
      {"qwen2_moe", [](ModelConfig& c) { c.moe.shared_gate = false; }},
      {"qwen2_moe", [](ModelConfig& c) { c.moe.shared_intermediate_size = 0; }},
      {"qwen3_moe", [](ModelConfig& c) { c.moe.experts_per_token = 2; }},
      {"olmoe", [](ModelConfig& c) { c.clip_qkv.reset(); }},
      {"olmoe", [](ModelConfig& c) { c.qk_norm = QkNorm::kNone; }},
      {"granite", [](ModelConfig& c) { c.embedding_scale = 1; }},
      {"granite", [](ModelConfig& c) { c.residual_scale = 1; }},
      {"granite", [](ModelConfig& c) { c.attention_scale = 0; }},
      {"granite", [](ModelConfig& c) { c.logit_scale = 1; }},
      {"granite_moe", [](ModelConfig& c) { c.residual_scale = 1; }},
      {"granite_moe", [](ModelConfig& c) { c.moe.normalize = false; }},
      {"granite_moe", [](ModelConfig& c) { c.moe.experts_per_token = 2; }},
      {"smollm3", [](ModelConfig& c) { c.layers[1].rope = LayerRope::kGlobal; }},
      {"bitnet", [](ModelConfig& c) { c.sub_norms = false; }},
      {"bitnet", [](ModelConfig& c) { c.activation = Activation::kSilu; }},
      {"mobilellm", [](ModelConfig& c) { c.layer_passes = 1; }},
      {"phi3_short", [](ModelConfig& c) { c.rope.scaling = RopeScaling::kNone; }},
      {"phi3_long", [](ModelConfig& c) { c.rope.long_factor = c.rope.short_factor; }}};
  for (const Mistake& mistake : mistakes) {
    const std::vector<FamilyCase> all = cases();
    const auto& family = *std::find_if(all.begin(), all.end(),
                                       [&](const FamilyCase& c) { return std::string(c.name) == mistake.family; });
    const WholeModel model = model_of(machine.context, config_from_json(family.config));
    const Plan plan =
        model.plan(machine.context, {.context = family.context, .kv_type = KvType::kF32, .all_logits = true});
    const std::vector<TokenId> tokens = random_tokens(24, model.config().vocab_size, 5);
    Session session(machine.context, *model.model, plan, KvBacking::kPopulate);
    const std::vector<float> actual = logits_of(session, session.open(), tokens);
    ModelConfig wrong = model.config();
    mistake.make(wrong);
    const ReferenceDecoder reference(wrong, model.model->weights().views(), plan.long_context);
    EXPECT_GT(distance(actual, reference.logits(tokens)), 50 * kTolerance)
        << mistake.family << ", mistake " << (&mistake - mistakes.data());
  }
}

}  // namespace
}  // namespace jericho
