// One audit: what a model is, the plan that would run it, how fast a device could be, and what gives out first. Assembled
// here from the parts, printed by report_text.h, report_json.h and report_html.h. Start at make_audit().
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "audit/bounds.h"
#include "audit/device.h"
#include "audit/model_work.h"
#include "audit/training.h"
#include "base/bytes.h"
#include "base/index.h"
#include "kernels/kv_tile.h"
#include "plan/plan.h"

namespace jericho {

struct AuditRequest {
  std::string model{};   // as commands name it
  std::string source{};  // "GGUF", "Hugging Face directory", "config.json"
  Index context = 4096;  // tokens of each sequence
  Index batch = 1;       // sequences together
  Index prompt = 512;    // tokens of a prompt to be read
  KvType kv_type = KvType::kF16;
  Index rank = 16;               // of low-rank training
  Index training_tokens = 2048;  // of one step on this device
  std::vector<std::string> notes{};

  void validate(const ModelConfig& config) const;  // Error(kUsage)
};

using PlanOutcome = std::variant<Plan, DoesNotFit>;

// The planner that will be asked when the model runs (plan_inference()), with the machine and the wish of the verb that
// runs it: every figure about fitting is its answer.
struct Planner {
  std::function<PlanOutcome(Bytes budget, Index batch, Index context)> plan{};
  Bytes budget{};
};

struct PlanReport {
  Bytes budget{};
  std::optional<Plan> plan{};  // what would run
  DoesNotFit smallest{};       // the least that works, and the smallest budget for it
  [[nodiscard]] const Plan& shown() const { return plan ? *plan : smallest.smallest; }
};

struct SpeedReport {
  Device device{};
  Bound decode{};    // of `batch` sequences `context` deep
  Bound single{};    // of one
  Bound prefill{};   // of the prompt
  double ridge = 0;  // of what the weights multiply with
  double critical_batch = 0;
  Starvation starvation{};
};

inline constexpr std::array kAuditedKvTypes = {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8};

struct Audit {
  AuditRequest request{};
  std::string architecture{};
  Index model_context = 0;
  ParameterCount parameters{};
  std::vector<TypeShare> types{};
  Bytes weights{};
  double bits_per_weight = 0;
  std::vector<std::pair<KvType, Bytes>> kv_per_token{};
  Bytes kv_at_context{};  // of one sequence
  Bytes state{};          // of one sequence
  Bytes logits{};         // of one row
  std::vector<Op> decode{}, prefill{};
  PlanReport plan{};
  std::optional<SpeedReport> speed{};  // nothing: no device is known
  std::vector<TrainingState> training{};
  Bytes saved_activations{}, recomputed_activations{}, training_logits{};
};

// Error(kUsage) for a request that the model cannot have.
Audit make_audit(const ModelView& model, const AuditRequest& request, const Planner& planner,
                 const std::optional<Device>& device);

// What a device of so much memory would say, with nothing of this process in it.
Planner planner_for(const ModelView& model, KvType type, Bytes memory);

PlanReport plan_report(const Planner& planner, Index batch, Index context);
SpeedReport speed_report(const ModelView& model, const AuditRequest& request, const Planner& planner,
                         const Device& device);

// What the matrices of most operations multiply with.
PeakKind main_unit(const std::vector<Op>& ops);

}  // namespace jericho
