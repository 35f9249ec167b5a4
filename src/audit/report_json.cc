// Objects for scripts: see report_json.h.
#include "audit/report_json.h"

#include "audit/report_text.h"

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
          {"disk_bytes_per_step", p.disk_bytes_per_step},
          {"scratch_file_bytes", p.shown().cold.scratch.total().count},
          {"resident_weights_bytes", p.resident_weights.count},
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
          {"disk_seconds_per_step", or_null(s.disk_seconds)},
          {"decode_with_disk_tokens_per_second_at_most", s.decode_tokens_per_second()},
          {"starvation", starvation_json(s.starvation)}};
}

Json advice_json(const Advice& advice) {
  Json facts = Json::object(), rules = Json::array();
  for (const Fact& fact : advice.facts) facts[fact.key] = fact.value;
  for (const Rule& rule : advice.rules) {
    rules.push_back({{"what", rule.what},
                     {"applies", rule.applies},
                     {"because", rule.why},
                     {"gain", rule.gain},
                     {"price", rule.price}});
  }
  return {{"scenario", name(advice.scenario)},
          {"facts", facts},
          {"rules", rules},
          {"batch_sequences", advice.ask.batch},
          {"context_tokens", advice.ask.context},
          {"kv_type", name(advice.ask.kv_type)},
          {"chunk_tokens", or_null(advice.ask.chunk)},
          {"command", advice.command}};
}

Json compared_json(const ComparedDevice& c) {
  return {{"device", to_json(c.one)},
          {"cards", c.cards},
          {"decode_one_sequence_at_most", to_json(c.single)},
          {"prefill_at_most", to_json(c.prefill)},
          {"sequences_that_fit", c.sequences},
          {"decode_all_sequences_at_most", to_json(c.full)},
          {"usd_per_million_tokens", or_null(c.usd_per_million)},
          {"joules_per_million_tokens", or_null(c.joules_per_million)}};
}

Json point_json(const RoadmapPoint& p) {
  return {{"month", month_text(p.month)},
          {"device", p.device},
          {"extrapolated", p.extrapolated},
          {"capacity_needed_of_had", p.shortage.capacity},
          {"bandwidth_needed_of_had", p.shortage.bandwidth},
          {"compute_needed_of_had", p.shortage.compute}};
}

Json fate_json(const WorkloadFate& fate) {
  Json years = Json::array();
  for (const RoadmapPoint& point : fate.years) years.push_back(point_json(point));
  return {{"workload", fate.workload},
          {"starves_of", fate.starves ? Json(name(fate.starves->shortage.resource())) : Json(nullptr)},
          {"starves_from", fate.starves ? Json(month_text(fate.starves->month)) : Json(nullptr)},
          {"first", fate.starves ? point_json(*fate.starves) : Json(nullptr)},
          {"years", years}};
}

Json verification_json(const Verification& v) {
  Json figures = Json::object();
  for (const Checked& c : v.figures) {
    figures[c.key] = {{"predicted", c.predicted}, {"measured", c.measured}, {"error", c.error()}, {"holds", c.holds()}};
  }
  const auto use = [](const Utilization& u) {
    return Json{{"of_bandwidth", u.bandwidth}, {"of_compute", u.compute}, {"of_disk", u.disk}};
  };
  return {{"figures", figures},
          {"tolerance", kTolerance},
          {"holds", v.holds()},
          {"predicted_by", v.how},
          {"decode_use", use(v.decode)},
          {"prefill_use", use(v.prefill)},
          {"decode_verdict", name(verdict_of(v.decode))}};
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

Json to_json(const AuditReport& r) {
  const Audit& a = r.audit;
  Json json = {{"verdict", verdict_line(r)},
               {"model", model_json(a)},
               {"request",
                {{"context_tokens", a.request.context},
                 {"batch_sequences", a.request.batch},
                 {"prompt_tokens", a.request.prompt},
                 {"kv_type", name(a.request.kv_type)}}},
               {"plan", plan_json(a.plan)},
               {"decode_step", ops_json(a.decode)},
               {"prefill", ops_json(a.prefill)},
               {"speed", a.speed ? speed_json(*a.speed) : Json(nullptr)},
               {"budgets", Json::array()},
               {"training", training_json(a)},
               {"scenarios", Json::array()},
               {"devices", Json::array()},
               {"roadmap", Json::array()},
               {"verification", r.verification ? verification_json(*r.verification) : Json(nullptr)},
               {"notes", a.request.notes}};
  for (const BudgetPoint& point : a.budgets) {
    json["budgets"].push_back(
        {{"budget_bytes", point.budget.count}, {"decode_tokens_per_second_at_most", point.tokens_per_second}});
  }
  for (const Advice& advice : r.advice) json["scenarios"].push_back(advice_json(advice));
  for (const ComparedDevice& device : r.comparison) json["devices"].push_back(compared_json(device));
  for (const WorkloadFate& fate : r.fates) json["roadmap"].push_back(fate_json(fate));
  return json;
}

}  // namespace jericho
