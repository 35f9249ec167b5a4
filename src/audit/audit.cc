// Putting an audit together: see audit.h.
#include "audit/audit.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "plan/speed.h"

namespace jericho {
namespace {

Index model_context_of(const ModelConfig& config) { return std::min(config.max_position_embeddings, kLargestContext); }

// What a step of `ask` reads of weights, and of keys and values.
double disk_bytes_of_step(const ModelConfig& config, const Plan& plan, const Ask& ask) {
  return disk_bytes_of_pass(plan.weights, static_cast<double>(ask.batch)) +
         cold_bytes_of_step(plan, config, ask.context);
}

// Speeds from the smallest budget up to where everything is in memory and beyond.
std::vector<BudgetPoint> over_budgets(const ModelConfig& config, const Planner& planner, const Ask& ask,
                                      const SpeedReport& speed) {
  const PlanReport least = plan_report(planner, ask);
  const auto from = static_cast<double>(least.smallest.smallest_budget.count);
  const auto whole = static_cast<double>(least.smallest.whole_budget.count);
  std::vector<double> budgets = {0.98 * from};
  constexpr int kSteps = 24;
  const double last = std::max(1.6 * whole, 1.25 * from);
  for (int i = 0; i <= kSteps; ++i) budgets.push_back(from + (last - from) * i / kSteps);
  budgets.push_back(whole);
  std::sort(budgets.begin(), budgets.end());
  std::vector<BudgetPoint> points;
  for (const double budget : budgets) {
    BudgetPoint point{.budget = {static_cast<std::int64_t>(budget)}};
    const PlanOutcome outcome = planner.plan(point.budget, ask);
    if (const auto* plan = std::get_if<Plan>(&outcome)) {
      const double bytes = disk_bytes_of_step(config, *plan, ask);
      const auto disk = speed.device.disk_bytes_per_second;
      if (bytes == 0 || disk)
        point.tokens_per_second = speed.decode.tokens / std::max(speed.decode.seconds, disk ? bytes / *disk : 0);
    }
    points.push_back(point);
  }
  return points;
}

}  // namespace

bool in_memory(const PlanOutcome& outcome) {
  const auto* plan = std::get_if<Plan>(&outcome);
  return plan != nullptr && plan->all_in_memory();
}

void AuditRequest::validate(const ModelConfig& config) const {
  const auto expect = [](bool holds, const char* flag, Index value, const std::string& range) {
    if (!holds) throw Error(ErrorKind::kUsage, fmt::format("{} {}: expected {}", flag, value, range));
  };
  const Index most = model_context_of(config);
  expect(context >= 1 && context <= most, "--context", context, fmt::format("1 to {}, the model's own", most));
  expect(batch >= 1 && batch <= kMostSequences, "--batch", batch, fmt::format("1 to {} sequences", kMostSequences));
  expect(prompt >= 1 && prompt <= kLargestContext, "--prompt", prompt, fmt::format("1 to {} tokens", kLargestContext));
  expect(rank >= 1 && rank <= 65536, "--rank", rank, "1 to 65536");
  expect(training_tokens >= 1 && training_tokens <= Index{1} << 30, "--tokens", training_tokens, "1 to 2^30");
}

Planner planner_for(const ModelView& model, Bytes memory) {
  return {.plan =
              [model](Bytes budget, const Ask& ask) {
                return plan_inference(
                    model.config, model.weights, {}, budget,
                    {.context = ask.context, .sequences = ask.batch, .kv_type = ask.kv_type, .chunk = ask.chunk});
              },
          .budget = memory};
}

PlanReport plan_report(const Planner& planner, const Ask& ask) {
  PlanReport report{.budget = planner.budget};
  PlanOutcome outcome = planner.plan(planner.budget, ask);
  if (std::holds_alternative<Plan>(outcome)) {
    report.plan = std::get<Plan>(std::move(outcome));
    outcome = planner.plan(1_B, ask);
  }
  report.smallest = std::get<DoesNotFit>(std::move(outcome));
  report.resident_weights = report.shown().weights.resident;
  return report;
}

PeakKind main_unit(const std::vector<Op>& ops) {
  std::array<double, 3> sums{};
  for (const Op& op : ops) {
    if (op.part == Part::kAttention || op.part == Part::kNorms) continue;
    for (std::size_t kind = 0; kind < sums.size(); ++kind) sums[kind] += op.operations[kind];
  }
  return static_cast<PeakKind>(std::max_element(sums.begin(), sums.end()) - sums.begin());
}

SpeedReport speed_report(const ModelView& model, const AuditRequest& r, const Planner& planner, const Device& device) {
  const auto batch = static_cast<double>(r.batch), context = static_cast<double>(r.context);
  const auto chunk = static_cast<double>(std::min(r.prompt, kLargestChunk));
  SpeedReport report{.device = device,
                     .decode = decode_bound(model, device, r.kv_type, batch, context),
                     .single = decode_bound(model, device, r.kv_type, 1, context),
                     .prefill = prefill_bound(model, device, r.kv_type, static_cast<double>(r.prompt), chunk)};
  report.ridge = device.ridge(main_unit(decode_ops(model, r.kv_type, 1, context)));
  report.critical_batch = critical_batch(report.ridge, bits_per_weight(model.weights));
  const Fits fits = [&](Index b, Index t) { return in_memory(planner.plan(planner.budget, {b, t, r.kv_type})); };
  report.starvation =
      find_starvation(model, device, r.kv_type, r.batch, r.context, model_context_of(model.config), fits);
  return report;
}

Audit make_audit(const ModelView& model, const AuditRequest& request, const Planner& planner,
                 const std::optional<Device>& device) {
  request.validate(model.config);
  const ModelConfig& config = model.config;
  Audit audit{.request = request,
              .architecture = config.architecture,
              .model_context = model_context_of(config),
              .parameters = count_parameters(model.weights),
              .types = weights_by_type(model.weights),
              .weights = checkpoint_bytes(model.weights),
              .bits_per_weight = bits_per_weight(model.weights)};
  for (const KvType type : kKvTypes) audit.kv_per_token.emplace_back(type, kv_layout(config, type).bytes_per_token());
  if (request.kv_type.keys != request.kv_type.values)
    audit.kv_per_token.emplace_back(request.kv_type, kv_layout(config, request.kv_type).bytes_per_token());
  audit.kv_at_context = kv_bytes(config, request.kv_type, request.context);
  audit.state = state_bytes(config, request.kv_type);
  audit.logits = logit_bytes(config, 1);
  const auto context = static_cast<double>(request.context);
  audit.decode = decode_ops(model, request.kv_type, static_cast<double>(request.batch), context);
  audit.prefill = prefill_ops(model, request.kv_type, static_cast<double>(request.prompt),
                              static_cast<double>(std::min(request.prompt, kLargestChunk)));
  const Ask ask{request.batch, request.context, request.kv_type, request.chunk};
  audit.plan = plan_report(planner, ask);
  audit.plan.disk_bytes_per_step = disk_bytes_of_step(config, audit.plan.shown(), ask);
  if (device) {
    audit.speed = speed_report(model, request, planner, *device);
    if (device->disk_bytes_per_second && audit.plan.disk_bytes_per_step > 0)
      audit.speed->disk_seconds = audit.plan.disk_bytes_per_step / *device->disk_bytes_per_second;
    audit.budgets = over_budgets(config, planner, ask, *audit.speed);
  }
  audit.training = training_states(model.weights, request.rank);
  audit.saved_activations = saved_activations(config, request.training_tokens, Recompute::kNone);
  audit.recomputed_activations = saved_activations(config, request.training_tokens, Recompute::kLayers);
  audit.training_logits = training_logit_bytes(config, request.training_tokens);
  return audit;
}

}  // namespace jericho
