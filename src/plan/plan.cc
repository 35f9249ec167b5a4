// The search for a plan: see plan.h. Every size comes from the function that the allocation uses too.
#include "plan/plan.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "memory/arena.h"
#include "memory/page_pool.h"

namespace jericho {
namespace {

struct Choice {
  Index context = 0;
  Index chunk = 0;
};

// RSS differs by some pages from one start to the next; a budget that is named must work at the next one.
constexpr Bytes kStartupJitter{128 << 10};

Bytes total(const std::vector<PlanRow>& rows) {
  Bytes sum{};
  for (const PlanRow& row : rows) sum += row.bytes;
  return sum;
}

// States have a page per sequence.
Index state_pages(const Plan& p) { return p.state.layers > 0 ? p.sequences : 0; }

// A pool's own records, and the owners' lists of its pages.
Bytes table_bytes(Index pages) {
  return PagePool::meta_bytes(pages) + Bytes{pages * static_cast<Index>(sizeof(void*) + sizeof(PageId))};
}

class InferencePlanner {
 public:
  InferencePlanner(const ModelConfig& config, const WeightLayout& weights, const Machine& machine,
                   const InferenceWish& wish)
      : config_(config), weights_(weights), machine_(machine), wish_(wish) {}

  [[nodiscard]] Plan plan(Choice choice) const {
    Plan p;
    p.context = choice.context;
    p.sequences = wish_.sequences;
    p.limits.rows = std::max(choice.chunk, wish_.sequences);
    p.limits.logit_rows = wish_.all_logits ? p.limits.rows : wish_.sequences;
    p.kv = kv_layout(config_, wish_.kv_type);
    p.state = state_layout(config_, wish_.kv_type);
    if (p.kv.layers > 0) p.pages = wish_.sequences * ceil_div(choice.context, kPageTokens);
    p.long_context = wants_long_context(wish_, config_);
    p.always = {{Purpose::kRuntime,
                 machine_.runtime + machine_.growth + wish_.heap_per_token * (choice.context * wish_.sequences)},
                {Purpose::kTokenizer, machine_.tokenizer},
                {Purpose::kIoRing, machine_.io_ring},
                {Purpose::kWeightsResident, arena_bytes(weights_.bytes())}};
    p.load = {{Purpose::kWeightsStaging, arena_bytes(ModelWeights::staging_bytes(weights_, machine_.threads))}};
    p.run = {{Purpose::kKvPages, PagePool::pool_bytes(p.pages, p.kv.page_bytes())},
             {Purpose::kStateSsm, PagePool::pool_bytes(state_pages(p), p.state.page_bytes(), NullPage::kAbsent)},
             {Purpose::kKvMeta, table_bytes(p.pages) + table_bytes(state_pages(p))},
             {Purpose::kAct, arena_bytes(Transformer::scratch_bytes(config_, weights_.forms(), p.limits))},
             {Purpose::kLogits, arena_bytes({p.limits.logit_rows * config_.vocab_size * 4})}};
    p.always.push_back({Purpose::kMargin, plan_margin(p.peak())});
    return p;
  }

  [[nodiscard]] Bytes cost(Choice choice) const { return plan(choice).peak(); }

  [[nodiscard]] Index smallest_chunk() const { return wish_.chunk.value_or(kSmallestChunk); }
  [[nodiscard]] Index model_context() const {
    const Index most = std::min(config_.max_position_embeddings, kLargestContext);
    if (config_.rope.scaling != RopeScaling::kLongRope || wants_long_context(wish_, config_)) return most;
    return std::min(most, config_.rope.original_max_position_embeddings);
  }
  [[nodiscard]] Index least_context() const {
    return wish_.context.value_or(std::min(model_context(), std::max<Index>(wish_.context_needed, kPageTokens)));
  }

  // The largest context up to `most` that fits at this chunk; 0 when not even one page does. Cost rises with every
  // page.
  [[nodiscard]] Index largest_context(Bytes budget, Index chunk, Index most) const {
    Index fits = 0;
    Index too_many = ceil_div(most, kPageTokens) + 1;
    while (too_many - fits > 1) {
      const Index pages = fits + (too_many - fits) / 2;
      (cost({pages * kPageTokens, chunk}) <= budget ? fits : too_many) = pages;
    }
    return std::min(most, fits * kPageTokens);
  }

  // The best choice that fits: the whole context with the largest chunk, else the largest context with a chunk that
  // leaves room.
  [[nodiscard]] std::optional<Choice> best(Bytes budget) const {
    const Index wanted = wish_.context.value_or(model_context());
    for (const Index chunk : chunks()) {
      if (cost({wanted, chunk}) <= budget) return Choice{wanted, chunk};
    }
    if (wish_.context) return std::nullopt;
    for (const Index chunk : chunks()) {
      const Index context = largest_context(budget, chunk, wanted);
      if (context >= least_context()) return Choice{context, chunk};
    }
    return std::nullopt;
  }

 private:
  [[nodiscard]] std::vector<Index> chunks() const {
    if (wish_.chunk) return {*wish_.chunk};
    std::vector<Index> sizes;
    for (Index chunk = kLargestChunk; chunk >= kSmallestChunk; chunk /= 2) sizes.push_back(chunk);
    return sizes;
  }

  const ModelConfig& config_;
  const WeightLayout& weights_;
  const Machine& machine_;
  const InferenceWish& wish_;
};

}  // namespace

Bytes Plan::of(Purpose purpose) const {
  Bytes sum{};
  for (const auto* rows : {&always, &load, &run}) {
    for (const PlanRow& row : *rows) {
      if (row.purpose == purpose) sum += row.bytes;
    }
  }
  return sum;
}

Bytes Plan::peak() const { return total(always) + std::max(total(load), total(run)); }

Bytes plan_margin(Bytes planned) { return std::max(512_KiB, Bytes{planned.count / 100}); }

std::variant<Plan, DoesNotFit> plan_inference(const ModelConfig& config, const WeightLayout& weights,
                                              const Machine& machine, Bytes budget, const InferenceWish& wish) {
  validate(wish, config);
  const InferencePlanner planner(config, weights, machine, wish);
  if (const auto choice = planner.best(budget); choice && machine.startup_peak <= budget) return planner.plan(*choice);
  DoesNotFit refusal;
  refusal.budget = budget;
  refusal.context_was_asked = wish.context.has_value();
  refusal.smallest = planner.plan({planner.least_context(), planner.smallest_chunk()});
  refusal.smallest_budget = std::max(refusal.smallest.peak(), machine.startup_peak) + kStartupJitter;
  for (const KvType type : {wish.kv_type, KvType::kQ8}) {
    InferenceWish other = wish;
    other.kv_type = type;
    const InferencePlanner with_type(config, weights, machine, other);
    refusal.largest_context.emplace_back(
        type, with_type.largest_context(budget, planner.smallest_chunk(), planner.model_context()));
    if (type == KvType::kQ8) break;
  }
  return refusal;
}

std::string budget_argument(Bytes budget) {
  constexpr std::int64_t kHundredthOfMiB = (1 << 20) / 100;
  const std::int64_t hundredths = budget.count / kHundredthOfMiB + 1;  // a little more than the budget, never less
  return fmt::format("{}.{:02}MiB", hundredths / 100, hundredths % 100);
}

std::string describe(const DoesNotFit& refusal) {
  const Plan& p = refusal.smallest;
  KvLayout reduced = p.kv;
  reduced.type = KvType::kQ8;
  const Bytes reduced_kv = PagePool::pool_bytes(p.pages, reduced.page_bytes());
  const auto row = [](const std::string& what, Bytes needed, Bytes least, const std::string& how) {
    return fmt::format("  {:<22}{:>10}   {:>10}{}\n", what, format_bytes(needed), format_bytes(least),
                       how.empty() ? "" : "  (" + how + ")");
  };
  const Bytes rest =
      p.of(Purpose::kRuntime) + p.of(Purpose::kTokenizer) + p.of(Purpose::kIoRing) + p.of(Purpose::kMargin);
  const Bytes weights = p.of(Purpose::kWeightsResident);
  const Bytes kv = p.of(Purpose::kKvPages) + p.of(Purpose::kKvMeta);
  const Bytes activations = p.of(Purpose::kAct) + p.of(Purpose::kLogits);
  std::string text = fmt::format("the model needs more memory than --memory {} allows\n", format_bytes(refusal.budget));
  text += fmt::format("  {:<22}{:>10}   {}\n", "tier ram", "needed", "at most reducible to");
  text += row("weights", weights, weights, "");
  if (p.kv.layers > 0) {
    text += row(fmt::format("kv ({} tokens)", p.context * p.sequences), kv,
                std::min(kv, reduced_kv + p.of(Purpose::kKvMeta)), p.kv.type == KvType::kQ8 ? "" : "--kv-type q8");
  }
  if (const Bytes states = p.of(Purpose::kStateSsm); states > Bytes{})
    text += row(fmt::format("states ({} sequence{})", p.sequences, p.sequences == 1 ? "" : "s"), states, states, "");
  text += row("activations, logits", activations, activations, fmt::format("at --chunk {}", p.limits.rows));
  text += row("loading, then free", p.of(Purpose::kWeightsStaging), p.of(Purpose::kWeightsStaging),
              "while kv and activations are not yet there");
  text += row("runtime, margin", rest, rest, "");
  text += fmt::format("smallest budget that works{}: --memory {}\n", refusal.context_was_asked ? " as asked" : "",
                      budget_argument(refusal.smallest_budget));
  for (const auto& [type, tokens] : refusal.largest_context) {
    text += tokens > 0
                ? fmt::format("largest context that fits --memory {} with {} KV: {} tokens\n",
                              format_bytes(refusal.budget), name(type), tokens)
                : fmt::format("no context fits --memory {} with {} KV\n", format_bytes(refusal.budget), name(type));
  }
  text.pop_back();
  return text;
}

bool wants_long_context(const InferenceWish& wish, const ModelConfig& config) {
  return config.rope.scaling == RopeScaling::kLongRope &&
         wish.context.value_or(wish.context_needed) > config.rope.original_max_position_embeddings;
}

void validate(const InferenceWish& wish, const ModelConfig& config) {
  const auto expect = [](bool holds, const char* flag, Index value, const std::string& range) {
    if (!holds) throw Error(ErrorKind::kUsage, fmt::format("{} {}: expected {}", flag, value, range));
  };
  const Index most = std::min(config.max_position_embeddings, kLargestContext);
  if (wish.context)
    expect(*wish.context >= 1 && *wish.context <= most, "--context", *wish.context,
           fmt::format("1 to {}, the model's own", most));
  if (wish.chunk) expect(*wish.chunk >= 1 && *wish.chunk <= 65536, "--chunk", *wish.chunk, "1 to 65536 tokens");
  expect(wish.sequences >= 1 && wish.sequences <= 4096, "sequences", wish.sequences, "1 to 4096");
  if (!wish.context) {
    expect(wish.context_needed <= most, "prompt and tokens to generate together need a context of", wish.context_needed,
           fmt::format("at most {}, the model's own context; shorten the prompt or lower -n", most));
  }
}

}  // namespace jericho
