// One audit: what a model is, the plan that would run it, how fast a device could be, and what gives out first.
// Assembled here from the parts, printed by report_text.h, report_json.h and report_html.h. Start at make_audit().
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "audit/bounds.h"
#include "audit/command_line.h"
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
  KvTypes kv_type{};
  std::optional<Index> chunk{};
  Index rank = 16;               // of low-rank training
  Index training_tokens = 2048;  // of one step on this device
  std::vector<std::string> notes{};
  ModelSource command{};  // how commands name the model

  void validate(const ModelConfig& config) const;  // Error(kUsage)
};

using PlanOutcome = std::variant<Plan, DoesNotFit>;

// The planner that will be asked when the model runs (plan_inference()), with the machine and the wish of the verb that
// runs it: every figure about fitting is its answer.
struct Ask {
  Index batch = 1;
  Index context = 0;
  KvTypes kv_type{};
  std::optional<Index> chunk{};
};
struct Planner {
  std::function<PlanOutcome(Bytes budget, const Ask& ask)> plan{};
  Bytes budget{};
};
bool in_memory(const PlanOutcome& outcome);  // a plan, and nothing of it streams from disk

struct PlanReport {
  Bytes budget{};
  std::optional<Plan> plan{};      // what would run
  DoesNotFit smallest{};           // the least that works, and the smallest budget for it
  double disk_bytes_per_step = 0;  // of an audit: weights that stream, keys and values in a scratch file
  Bytes resident_weights{};
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
  std::optional<double> disk_seconds{};  // of a step, where the plan reads from a disk whose speed is known

  // What a step takes at least where the disk reads while the machine computes.
  [[nodiscard]] double step_seconds() const { return std::max(decode.seconds, disk_seconds.value_or(0)); }
  [[nodiscard]] double decode_tokens_per_second() const { return decode.tokens / step_seconds(); }
  [[nodiscard]] bool waits_for_disk() const { return disk_seconds.value_or(0) > decode.seconds; }
};

// Tokens per second at most under each of several budgets.
struct BudgetPoint {
  Bytes budget{};
  double tokens_per_second = 0;  // 0: refused
};

struct Audit {
  AuditRequest request{};
  std::string architecture{};
  Index model_context = 0;
  ParameterCount parameters{};
  std::vector<TypeShare> types{};
  Bytes weights{};
  double bits_per_weight = 0;
  std::vector<std::pair<KvTypes, Bytes>> kv_per_token{};
  Bytes kv_at_context{};  // of one sequence
  Bytes state{};          // of one sequence
  Bytes logits{};         // of one row
  std::vector<Op> decode{}, prefill{};
  PlanReport plan{};
  std::optional<SpeedReport> speed{};  // nothing: no device is known
  std::vector<BudgetPoint> budgets{};  // ascending
  std::vector<TrainingState> training{};
  Bytes saved_activations{}, recomputed_activations{}, training_logits{};
};

// Error(kUsage) for a request that the model cannot have.
Audit make_audit(const ModelView& model, const AuditRequest& request, const Planner& planner,
                 const std::optional<Device>& device);

// What a device of so much memory would say, with nothing of this process in it.
Planner planner_for(const ModelView& model, Bytes memory);

PlanReport plan_report(const Planner& planner, const Ask& ask);
SpeedReport speed_report(const ModelView& model, const AuditRequest& request, const Planner& planner,
                         const Device& device);

// What the matrices of most operations multiply with.
PeakKind main_unit(const std::vector<Op>& ops);

}  // namespace jericho
