// What will run, decided before anything is allocated: model shapes + machine + budget + wish -> Plan. Verbs execute
// the plan they were given; audit prints the same object. Start at plan_inference(). Everything lies in RAM so far;
// streaming weights and tiered KV will be further choices of the same search.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "kernels/kv_tile.h"
#include "memory/ledger.h"
#include "models/config.h"
#include "models/transformer.h"
#include "models/weights.h"
#include "ops/paged_attention.h"
#include "ops/state_space.h"

namespace jericho {

// What the process holds before the plan adds to it, as measured, and what it runs on.
struct Machine {
  Bytes runtime{};       // resident now: code, libraries, stacks, heap, without the two below
  Bytes tokenizer{};     // held by the tokenizer
  Bytes io_ring{};       // held by the I/O backend
  Bytes growth{};        // heap that the verb will add: sampler, texts, token lists
  Bytes startup_peak{};  // the most that was resident so far: no smaller budget can hold
  int threads = 1;
};

struct InferenceWish {
  std::optional<Index> context{};  // tokens per sequence; unset: as many as fit, up to the model's own
  Index context_needed = 1;        // when unset, at least this many
  Index sequences = 1;             // held at once
  Bytes heap_per_token{};          // what the verb's own lists take for each token of context
  KvType kv_type = KvType::kF16;
  std::optional<Index> chunk{};  // tokens per forward pass; unset: 512, less where that helps to fit
  bool all_logits = false;       // logits of every row, not only of the last of each sequence
};

inline constexpr Index kLargestChunk = 512;
inline constexpr Index kSmallestChunk = 32;
inline constexpr Index kLargestContext = Index{1} << 21;  // where the angles of RoPE lose their accuracy (base/math.h)

struct PlanRow {
  Purpose purpose{};
  Bytes bytes{};
};

struct Plan {
  Index context = 0;
  Index sequences = 0;
  Index pages = 0;  // of the KV pool; none where no layer attends
  BatchLimits limits{};
  KvLayout kv{};
  StateLayout state{};          // one page of it per sequence, where the model has any
  bool long_context = false;    // LongRoPE's long list of factors: by the wish alone, never by the budget
  std::vector<PlanRow> load{};  // leased while weights are read, besides `always`
  std::vector<PlanRow> run{};   // leased while tokens are computed
  std::vector<PlanRow> always{};

  [[nodiscard]] Bytes of(Purpose purpose) const;  // 0 when the plan has no such row
  [[nodiscard]] Bytes peak() const;               // the larger of the two phases
};

// Why nothing fits, with what would.
struct DoesNotFit {
  Bytes budget{};
  Plan smallest{};          // the wish as asked, at the least it can take
  Bytes smallest_budget{};  // with it the wish works; with 2 % less it is refused
  bool context_was_asked = false;
  std::vector<std::pair<KvType, Index>> largest_context{};  // tokens that fit the budget at each KV type; 0: none
};

std::variant<Plan, DoesNotFit> plan_inference(const ModelConfig& config, const WeightLayout& weights,
                                              const Machine& machine, Bytes budget, const InferenceWish& wish);

// Kept free for what the figures may be wrong by: 1 % of the plan, at least 512 KiB.
Bytes plan_margin(Bytes planned);

// "--memory 14.4MiB": rounded up, so that the printed figure works.
std::string budget_argument(Bytes budget);

// A table for people: what is needed, to what it can be reduced and how, and which budget works.
std::string describe(const DoesNotFit& refusal);

// Do sequences of this wish go beyond the context up to which a model with LongRoPE uses its short factors? Then they use
// the long ones from their first token on; else their context ends there, however much would fit.
bool wants_long_context(const InferenceWish& wish, const ModelConfig& config);

// Error(kUsage) naming flag, value and range.
void validate(const InferenceWish& wish, const ModelConfig& config);

}  // namespace jericho
