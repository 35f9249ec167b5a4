// Objects for scripts: see report_json.h.
#include "audit/report_json.h"

namespace jericho {
namespace {

using Json = nlohmann::json;

Json rows_json(const std::vector<PlanRow>& rows) {
  Json json = Json::object();
  for (const PlanRow& row : rows) {
    const std::string key = std::string(name(row.purpose)) + "_bytes";
    json[key] = json.value(key, std::int64_t{0}) + row.bytes.count;
  }
  return json;
}

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json ops_json(const std::vector<Op>& ops) {
  Json list = Json::array();
  for (const Op& op : ops) {
    list.push_back({{"part", name(op.part)},
                    {"operations", op.total_operations()},
                    {"weight_bytes", op.weight_bytes},
                    {"cache_bytes", op.cache_bytes},
                    {"activation_bytes", op.activation_bytes},
                    {"operations_per_byte", op.intensity()}});
  }
  return {{"parts", list},
          {"operations", total_operations(ops)},
          {"memory_bytes", total_bytes(ops)},
          {"operations_per_memory_byte", intensity(ops)}};
}

Json starvation_json(const Starvation& s) {
  return {{"fits", s.fits},
          {"first", name(s.first)},
          {"one_sequence", name(s.single)},
          {"capacity_from_sequences", or_null(s.batch_of_capacity)},
          {"capacity_from_context_tokens", or_null(s.context_of_capacity)},
          {"compute_from_sequences", or_null(s.batch_of_compute)},
          {"compute_from_prompt_tokens", or_null(s.tokens_of_compute)},
          {"kv_equals_weights_at_tokens", s.crossover > 0 ? Json(s.crossover) : Json(nullptr)}};
}

Json plan_json(const PlanReport& p) {
  Json contexts = Json::object();
  for (const auto& [type, tokens] : p.smallest.largest_context) contexts[std::string(name(type)) + "_tokens"] = tokens;
  return {{"budget_bytes", p.budget.count},
          {"fits", p.plan.has_value()},
          {"plan", p.plan ? to_json(*p.plan) : Json(nullptr)},
          {"smallest_plan", to_json(p.smallest.smallest)},
          {"smallest_budget_bytes", p.smallest.smallest_budget.count},
          {"smallest_budget", budget_argument(p.smallest.smallest_budget)},
          {"largest_context", p.plan ? Json(nullptr) : contexts}};
}

Json training_json(const Audit& a) {
  Json methods = Json::object();
  for (const TrainingState& t : a.training) {
    methods[std::string(name(t.method))] = {{"trainable_parameters", t.trainable},  {"weights_bytes", t.weights.count},
                                            {"gradients_bytes", t.gradients.count}, {"master_bytes", t.master.count},
                                            {"optimizer_bytes", t.optimizer.count}, {"total_bytes", t.total().count}};
  }
  return {{"rank", a.request.rank},
          {"tokens", a.request.training_tokens},
          {"methods", methods},
          {"activations_bytes", a.saved_activations.count},
          {"activations_recomputed_bytes", a.recomputed_activations.count},
          {"logits_and_gradient_bytes", a.training_logits.count}};
}

Json model_json(const Audit& a) {
  Json types = Json::object(), kv = Json::object();
  for (const TypeShare& share : a.types)
    types[std::string(name(share.dtype))] = {{"parameters", share.parameters}, {"bytes", share.bytes.count}};
  for (const auto& [type, bytes] : a.kv_per_token) kv[std::string(name(type)) + "_bytes"] = bytes.count;
  return {{"name", a.request.model},
          {"source", a.request.source},
          {"architecture", a.architecture},
          {"context_tokens", a.model_context},
          {"parameters", a.parameters.total},
          {"active_parameters", a.parameters.active},
          {"gathered_parameters", a.parameters.embedding},
          {"linear_parameters", a.parameters.linear},
          {"weights_bytes", a.weights.count},
          {"bits_per_weight", a.bits_per_weight},
          {"types", types},
          {"kv_per_token", kv},
          {"kv_at_context_bytes", a.kv_at_context.count},
          {"state_per_sequence_bytes", a.state.count},
          {"logits_per_row_bytes", a.logits.count}};
}

Json speed_json(const SpeedReport& s) {
  return {{"device", to_json(s.device)},
          {"ridge_operations_per_byte", s.ridge},
          {"critical_batch", s.critical_batch},
          {"decode_at_most", to_json(s.decode)},
          {"decode_one_sequence_at_most", to_json(s.single)},
          {"prefill_at_most", to_json(s.prefill)},
          {"starvation", starvation_json(s.starvation)}};
}

}  // namespace

Json to_json(const Plan& plan) {
  return {
      {"context_tokens", plan.context},       {"sequences", plan.sequences},      {"chunk_tokens", plan.limits.rows},
      {"logit_rows", plan.limits.logit_rows}, {"kv_pages", plan.pages},           {"kv_type", name(plan.kv.type)},
      {"long_context", plan.long_context},    {"always", rows_json(plan.always)}, {"load", rows_json(plan.load)},
      {"run", rows_json(plan.run)},           {"peak_bytes", plan.peak().count}};
}

Json to_json(const Device& d) {
  return {{"name", d.name},
          {"label", d.label},
          {"usable_memory_bytes", d.memory.count},
          {"bytes_per_second", d.bytes_per_second},
          {"int8_operations_per_second", d.peak(PeakKind::kInt8)},
          {"bf16_operations_per_second", d.peak(PeakKind::kBF16)},
          {"fp32_operations_per_second", d.peak(PeakKind::kF32)},
          {"arithmetic", d.arithmetic},
          {"disk_bytes_per_second", or_null(d.disk_bytes_per_second)},
          {"watts", or_null(d.watts)},
          {"usd", or_null(d.usd)},
          {"usd_per_hour", or_null(d.usd_per_hour)},
          {"available", d.available},
          {"source", d.source},
          {"measured", d.measured}};
}

Json to_json(const Bound& b) {
  return {{"tokens_per_second", b.tokens_per_second()},
          {"step_seconds", b.seconds},
          {"read_seconds", b.read_seconds},
          {"compute_seconds", b.compute_seconds},
          {"waits_for", name(b.resource)}};
}

Json to_json(const Audit& a) {
  return {{"model", model_json(a)},
          {"request",
           {{"context_tokens", a.request.context},
            {"batch_sequences", a.request.batch},
            {"prompt_tokens", a.request.prompt},
            {"kv_type", name(a.request.kv_type)}}},
          {"plan", plan_json(a.plan)},
          {"decode_step", ops_json(a.decode)},
          {"prefill", ops_json(a.prefill)},
          {"speed", a.speed ? speed_json(*a.speed) : Json(nullptr)},
          {"training", training_json(a)},
          {"notes", a.request.notes}};
}

}  // namespace jericho
