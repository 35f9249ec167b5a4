// The search for a plan: see plan.h. Every size comes from the function that the allocation uses too.
#include "plan/plan.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "memory/arena.h"
#include "memory/page_pool.h"
#include "models/blocks.h"

namespace jericho {
namespace {

struct Choice {
  Index context = 0;
  Index chunk = 0;
  Index pages = 0;  // of the KV pool; 0: all
  WeightResidency weights{};
};

// What is read ahead, from the best to the least; what takes more than a small part of the room is not worth it.
constexpr StreamDepth kDepths[] = {{4}, {3}, {2}, {1}};
constexpr StreamDepth kLeastDepth = kDepths[3];

// RSS differs by some pages from one start to the next; a budget that is named must work at the next one.
constexpr Bytes kStartupJitter{128 << 10};

Bytes total(const std::vector<PlanRow>& rows) {
  Bytes sum{};
  for (const PlanRow& row : rows) sum += row.bytes;
  return sum;
}

Bytes of(const std::vector<PlanRow>& rows, Purpose purpose) {
  Bytes sum{};
  for (const PlanRow& row : rows) {
    if (row.purpose == purpose) sum += row.bytes;
  }
  return sum;
}

// States have a page per sequence.
Index state_pages(const Plan& p) { return p.state.layers > 0 ? p.sequences : 0; }

// A pool's own records, and the owners' lists of pages, of which not all need be in it.
Bytes table_bytes(Index pages, Index listed) {
  return PagePool::meta_bytes(pages) + Bytes{listed * static_cast<Index>(sizeof(void*) + sizeof(PageId))};
}

// Blocks that attention asks for in one step, at most: of each layer a sequence's groups, as many times as waves of
// rows have some of its own. Each wave after the first continues one sequence at most; the others begin in it.
Index cold_visits(const Plan& p, const ModelConfig& config, Index groups) {
  const Index waves = config.latent.kv_lora_rank > 0 ? ceil_div(p.limits.rows, kLatentWave) : 1;
  return p.kv.layers * groups * (p.sequences + waves - 1);
}

// For the part of the keys and values that `p` has no pages for.
ColdPlan cold_plan(const Plan& p, const ModelConfig& config) {
  constexpr Index kLeastRing = 3, kMostRing = 32;  // one is read from, one is on its way, one is wanted next
  constexpr Bytes kRing = 8_MiB;
  ColdPlan cold{.group_pages = pages_of_group(p.kv, p.context)};
  if (p.selection) cold.group_pages = kAttentionBlock / kPageTokens;  // what is selected is what is read
  const Index groups = ceil_div(ceil_div(p.context, kPageTokens), cold.group_pages);
  const Bytes block = round_up(cold.group_pages * p.kv.key_offset(1, 0), kPageSize);
  cold.scratch = {block, p.kv.layers, p.sequences * groups};
  const Bytes ring = std::min(kRing, Bytes{cold.scratch.total().count / 16});
  cold.ring = std::clamp(ring.count / block.count, kLeastRing, kMostRing);
  cold.visits = cold_visits(p, config, groups);
  cold.carried = {p.limits.rows * 2 * config.num_attention_heads * static_cast<Index>(sizeof(float))};
  return cold;
}

// Of sequences that may have to be read again, and of the one that is.
Bytes token_bytes(const Plan& p) {
  constexpr Index kToken = sizeof(std::int32_t), kFlag = 1;
  return {p.preempts() ? (p.sequences + 1) * p.context * (p.selection ? kToken + kFlag : kToken) : 0};
}

Bytes cold_meta_bytes(const Plan& p) {
  if (p.cold.group_pages == 0) return {};
  constexpr Index kVisitBytes = 32;  // of the list of blocks that a step reads
  return ScratchFile::meta_bytes(p.cold.scratch) + Bytes{p.cold.visits * kVisitBytes};
}

class InferencePlanner {
 public:
  InferencePlanner(const ModelConfig& config, const WeightLayout& weights, const Machine& machine,
                   const InferenceWish& wish)
      : config_(config), weights_(weights), units_(config, weights), machine_(machine), wish_(wish) {}

  [[nodiscard]] Plan plan(const Choice& choice) const {
    Plan p;
    p.context = choice.context;
    p.sequences = wish_.sequences;
    p.limits.rows = std::max(choice.chunk, wish_.sequences);
    p.limits.adapter_rank = wish_.adapters.rank;
    p.limits.logit_rows = wish_.all_logits ? p.limits.rows : wish_.sequences;
    p.kv = kv_layout(config_, wish_.kv_type);
    p.kv.rotated = wish_.kv_rotate;
    if (wish_.kv_select.method != KvMethod::kAll) {
      p.selection = selection_shape(config_, wish_.kv_select, p.kv);
      p.selection->sequences = p.sequences;
      p.selection->context = p.context;
      p.selection->rows = p.limits.rows;
      p.selection->threads = machine_.threads;
    }
    p.state = state_layout(config_, wish_.kv_type.keys);
    p.pages = choice.pages > 0 ? choice.pages : p.all_pages();
    if (p.pages < p.all_pages() && wish_.scratch) p.cold = cold_plan(p, config_);
    if (wish_.prefix_store) p.prefix = prefix_shape(p.kv);
    p.long_context = wants_long_context(wish_, config_);
    p.weights = choice.weights;
    const Bytes books = p.weights.whole ? 0_B : units_.books_bytes();
    const int more_io = units_.backends(p.weights) + (p.cold.group_pages > 0 ? 1 : 0);
    p.always = {{Purpose::kRuntime, machine_.runtime + machine_.growth +
                                        wish_.heap_per_token * (choice.context * wish_.sequences) + books},
                {Purpose::kTokenizer, machine_.tokenizer},
                {Purpose::kIoRing, machine_.io_ring + machine_.scratch_io * more_io},
                {Purpose::kWeightsResident, arena_bytes(p.weights.resident)}};
    p.load = {{Purpose::kWeightsStaging,
               arena_bytes(std::max(ModelWeights::staging_bytes(weights_, machine_.threads), wish_.adapters.staging))}};
    if (wish_.adapters.rank > 0) p.always.push_back({Purpose::kAdapter, wish_.adapters.bytes});
    const Index full_listed = p.kv.has_full_keys() ? p.sequences * p.table_pages() : 0;
    p.run = {
        {Purpose::kKvPages,
         PagePool::pool_bytes(p.pages, p.kv.page_bytes()) + p.cold.ring_bytes() + p.full_key_bytes()},
        {Purpose::kStateSsm, PagePool::pool_bytes(state_pages(p), p.state.page_bytes(), NullPage::kAbsent)},
        {Purpose::kKvMeta,
         table_bytes(p.pages, p.sequences * p.table_pages()) + table_bytes(p.full_key_pages(), full_listed) +
             table_bytes(state_pages(p), state_pages(p)) + cold_meta_bytes(p) + token_bytes(p) + p.selection_bytes()},
        {Purpose::kAct, arena_bytes(Transformer::scratch_bytes(
                            config_, with_adapters(weights_.forms(), p.limits.adapter_rank), p.limits))},
        {Purpose::kLogits, arena_bytes({p.limits.logit_rows * config_.vocab_size * 4})}};
    if (const Bytes staging = units_.staging_bytes(p.weights, machine_.threads); staging > 0_B)
      p.run.push_back({Purpose::kWeightsStaging, arena_bytes(staging)});
    if (const Bytes slots = units_.slots_bytes(p.weights); slots > 0_B)
      p.run.push_back({Purpose::kWeightsExperts, slots});
    if (p.prefix) {
      p.run.push_back({Purpose::kKvPrefix, arena_bytes(p.prefix->record_bytes()) + p.prefix->meta_bytes()});
      p.always.push_back({Purpose::kIoRing, machine_.scratch_io});
    }
    p.always.push_back({Purpose::kMargin, plan_margin(p.peak())});
    return p;
  }

  [[nodiscard]] Bytes cost(const Choice& choice) const { return plan(choice).peak(); }

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
  [[nodiscard]] Index largest_context(Bytes budget, Choice at, Index most) const {
    Index fits = 0;
    Index too_many = ceil_div(most, kPageTokens) + 1;
    while (too_many - fits > 1) {
      const Index pages = fits + (too_many - fits) / 2;
      at.context = pages * kPageTokens;
      (cost(at) <= budget ? fits : too_many) = pages;
    }
    return std::min(most, fits * kPageTokens);
  }

  // The fewest pages with which every batch has those that it writes and those that are not yet a whole group. Without
  // a scratch file, one sequence must have all of its own.
  [[nodiscard]] Index least_pages(Index context, Index chunk) const {
    const Plan p = plan({context, chunk, 0, units_.whole()});
    if (p.kv.layers == 0 || !(wish_.scratch || wish_.preempt)) return p.pages;
    if (!wish_.scratch) return ceil_div(context, kPageTokens);
    const Index at_once = wish_.preempt ? 1 : wish_.sequences;
    const Index growth = ceil_div(p.limits.rows, kPageTokens) + at_once;
    return std::min(p.pages, at_once * cold_plan(p, config_).group_pages + growth);
  }

  // As many pages in RAM as the budget has room for beside all weights; nothing when it has none for the least.
  [[nodiscard]] std::optional<Choice> most_pages(Bytes budget, Index context, Index chunk) const {
    Choice choice{context, chunk, 0, units_.whole()};
    Index fits = least_pages(context, chunk), too_many = plan(choice).pages;
    const auto costs = [&](Index pages) {
      choice.pages = pages;
      return cost(choice);
    };
    if (fits == too_many || costs(fits) > budget) return std::nullopt;
    while (too_many - fits > 1) {
      const Index pages = fits + (too_many - fits) / 2;
      (costs(pages) <= budget ? fits : too_many) = pages;
    }
    choice.pages = fits;
    return choice;
  }

  // The smallest choice with all weights in memory, and that with as few as can be.
  [[nodiscard]] Choice least_whole() const { return with_fewest_pages(units_.whole()); }
  [[nodiscard]] Choice least_streaming() const { return with_fewest_pages(units_.pin(0_B, kLeastDepth)); }
  [[nodiscard]] Choice least() const {
    if (!units_.any() || cost(least_whole()) <= cost(least_streaming())) return least_whole();
    return least_streaming();
  }

  // That, with all keys and values in RAM.
  [[nodiscard]] Choice least_in_ram() const {
    Choice choice = least();
    choice.pages = 0;
    return choice;
  }

  [[nodiscard]] std::optional<Choice> best(Bytes budget) const {
    if (const auto choice = best_whole(budget)) return choice;
    return best_streaming(budget);
  }

 private:
  [[nodiscard]] Choice with_fewest_pages(const WeightResidency& weights) const {
    const Index context = least_context(), chunk = smallest_chunk();
    const Choice all{context, chunk, 0, weights}, fewest{context, chunk, least_pages(context, chunk), weights};
    return cost(fewest) < cost(all) ? fewest : all;
  }

  // With all weights in memory: the whole context with the largest chunk, else the largest context with a chunk that
  // leaves room, else what is needed with part of it in RAM.
  [[nodiscard]] std::optional<Choice> best_whole(Bytes budget) const {
    const Index wanted = wish_.context.value_or(model_context());
    for (const Index chunk : chunks()) {
      const Choice choice{wanted, chunk, 0, units_.whole()};
      if (cost(choice) <= budget) return choice;
    }
    for (const Index chunk : chunks()) {
      if (wish_.context) break;
      Choice choice{0, chunk, 0, units_.whole()};
      choice.context = largest_context(budget, choice, wanted);
      if (choice.context >= least_context()) return choice;
    }
    const auto smallest = most_pages(budget, least_context(), smallest_chunk());
    if (!smallest) return std::nullopt;
    // A chunk reads all that is not in RAM: long ones save readings, but take room.
    for (const Index chunk : chunks()) {
      const auto choice = most_pages(budget, least_context(), chunk);
      if (choice && 2 * choice->pages >= smallest->pages) return choice;
    }
    return smallest;
  }

  // With a part of the weights: most of the room goes to pinned ones, for each of their bytes spares reading one in
  // every pass. A quarter of what is left goes first to a larger chunk, since every chunk of a prompt is a pass, then
  // to more context, then to reading further ahead. Keys and values leave RAM too only where nothing else fits.
  [[nodiscard]] std::optional<Choice> best_streaming(Bytes budget) const {
    if (!units_.any()) return std::nullopt;
    Choice choice{least_context(), smallest_chunk(), 0, units_.pin(0_B, kLeastDepth)};
    const bool all_pages = cost(choice) <= budget;
    if (!all_pages) choice = least_streaming();
    if (cost(choice) > budget) return std::nullopt;
    const auto take = [&](const Choice& better) {
      const Bytes now = cost(choice);
      const bool taken = cost(better) <= now + Bytes{(budget - now).count / 4};
      if (taken) choice = better;
      return taken;
    };
    for (const Index chunk : chunks()) {
      const bool larger_than_needed = chunk / 2 >= choice.context && chunk > smallest_chunk();
      if (all_pages && !larger_than_needed && take({choice.context, chunk, 0, choice.weights})) break;
    }
    if (all_pages && !wish_.context) {
      const Bytes now = cost(choice);
      const Index context = largest_context(now + Bytes{(budget - now).count / 4}, choice, model_context());
      choice.context = std::max(choice.context, context);
    }
    const auto with = [&](const WeightResidency& weights) {
      return Choice{choice.context, choice.chunk, choice.pages, weights};
    };
    StreamDepth depth = kLeastDepth;
    for (const StreamDepth deeper : kDepths) {
      if (!take(with(units_.pin(0_B, deeper)))) continue;
      depth = deeper;
      break;
    }
    const auto pinned = [&](Bytes room) { return with(units_.pin(room, depth)); };
    Bytes fits{}, too_much = units_.pinnable() + 1_B;
    while (too_much - fits > 1_KiB) {
      const Bytes room{fits.count + (too_much - fits).count / 2};
      (cost(pinned(room)) <= budget ? fits : too_much) = room;
    }
    if (cost(pinned(units_.pinnable())) <= budget) fits = units_.pinnable();
    return pinned(fits);
  }

  [[nodiscard]] std::vector<Index> chunks() const {
    if (wish_.chunk) return {*wish_.chunk};
    std::vector<Index> sizes;
    for (Index chunk = kLargestChunk; chunk >= kSmallestChunk; chunk /= 2) sizes.push_back(chunk);
    return sizes;
  }

  const ModelConfig& config_;
  const WeightLayout& weights_;
  const WeightUnits units_;
  const Machine& machine_;
  const InferenceWish& wish_;
};

}  // namespace

Bytes Plan::of(Purpose purpose) const {
  return jericho::of(always, purpose) + std::max(load_of(purpose), run_of(purpose));
}

Bytes Plan::load_of(Purpose purpose) const { return jericho::of(load, purpose); }

Bytes Plan::run_of(Purpose purpose) const { return jericho::of(run, purpose); }

Index Plan::all_pages() const {
  const Index whole = sequences * table_pages();
  if (!selection || selection->select.method != KvMethod::kStreaming) return whole;
  const KvSelect& select = selection->select;
  // Between two steps the sinks and the window, each on its last and its first page beside others; a step adds its
  // rows.
  const Index kept = ceil_div(select.sinks, kPageTokens) + ceil_div(select.tokens, kPageTokens) + 2;
  return std::min(whole, sequences * kept + ceil_div(limits.rows, kPageTokens));
}

Index Plan::full_key_pages() const {
  if (!kv.has_full_keys()) return 0;
  // Between two steps a sequence keeps the blocks that its next token sees in full, the last one begun; a step adds its
  // rows, and in each of its sequences a page that they only begin.
  constexpr Index kKept = (kFullBlocks + 1) * kBlockPages;
  return std::min(sequences * table_pages(), sequences * (kKept + 1) + limits.rows / kPageTokens);
}

Bytes Plan::full_key_bytes() const {
  return kv.has_full_keys() ? PagePool::pool_bytes(full_key_pages(), kv.full_page_bytes(), NullPage::kAbsent) : 0_B;
}

Bytes Plan::selection_bytes() const {
  if (!selection) return {};
  return arena_bytes(selection->select.votes() ? KvVotes::bytes(*selection) : KvSelection::bytes(*selection));
}

Bytes Plan::peak() const { return total(always) + std::max(total(load), total(run)); }

PrefixShape prefix_shape(const KvLayout& kv) {
  constexpr Index kMostRecords = 1024;  // of a segment: the index stays small
  PrefixShape shape{.payload = kv.page_bytes()};
  shape.records = std::clamp(PrefixShape::kSegment.count / shape.record_bytes().count, Index{1}, kMostRecords);
  return shape;
}

Index pages_of_group(const KvLayout& kv, Index context) {
  constexpr Bytes kBlock = 1_MiB;
  constexpr Index kMostPages = 64, kGroups = 32;
  Index pages = kAttentionBlock / kPageTokens;
  while (2 * pages <= kMostPages && 2 * pages * kv.key_offset(1, 0) <= kBlock &&
         2 * pages * kPageTokens * kGroups <= context)
    pages *= 2;
  return pages;
}

Bytes plan_margin(Bytes planned) { return std::max(512_KiB, Bytes{planned.count / 100}); }

std::variant<Plan, DoesNotFit> plan_inference(const ModelConfig& config, const WeightLayout& weights,
                                              const Machine& machine, Bytes budget, const InferenceWish& wish) {
  validate(wish, config);
  const InferencePlanner planner(config, weights, machine, wish);
  if (const auto choice = planner.best(budget); choice && machine.startup_peak <= budget) return planner.plan(*choice);
  DoesNotFit refusal;
  refusal.budget = budget;
  refusal.context_was_asked = wish.context.has_value();
  refusal.smallest = planner.plan(planner.least());
  const auto budget_of = [&](const Plan& p) { return std::max(p.peak(), machine.startup_peak) + kStartupJitter; };
  refusal.smallest_budget = budget_of(refusal.smallest);
  refusal.weights = arena_bytes(weights.bytes());
  refusal.whole_budget = budget_of(planner.plan(planner.least_whole()));
  InferenceWish spilling = wish;
  spilling.scratch = may_spill(wish);
  const InferencePlanner with_scratch(config, weights, machine, spilling);
  const Bytes less = budget_of(with_scratch.plan(with_scratch.least()));
  if (less < refusal.smallest_budget) refusal.with_scratch = less;
  const auto token_bytes_of = [&](KvTypes type) { return kv_layout(config, type).bytes_per_token(); };
  std::vector<KvTypes> types = {wish.kv_type};
  for (const KvType type : {KvType::kQ8, KvType::kQ4}) {
    if (token_bytes_of(type) < token_bytes_of(wish.kv_type)) types.push_back(type);
  }
  for (const KvTypes type : types) {
    InferenceWish other = wish;
    other.kv_type = type;
    const InferencePlanner with_type(config, weights, machine, other);
    refusal.largest_context.emplace_back(
        type, with_type.largest_context(budget, with_type.least_in_ram(), planner.model_context()));
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
  reduced.type = KvType::kQ4;
  const bool reducible = reduced.bytes_per_token() < p.kv.bytes_per_token();
  const auto row = [](const std::string& what, Bytes needed, Bytes least, const std::string& how) {
    return fmt::format("  {:<22}{:>10}   {:>10}{}\n", what, format_bytes(needed), format_bytes(least),
                       how.empty() ? "" : "  (" + how + ")");
  };
  const Bytes rest =
      p.of(Purpose::kRuntime) + p.of(Purpose::kTokenizer) + p.of(Purpose::kIoRing) + p.of(Purpose::kMargin);
  const Bytes least_weights =
      p.of(Purpose::kWeightsResident) + p.run_of(Purpose::kWeightsStaging) + p.run_of(Purpose::kWeightsExperts);
  const Bytes kv = p.of(Purpose::kKvPages) + p.of(Purpose::kKvMeta);
  const Bytes activations = p.of(Purpose::kAct) + p.of(Purpose::kLogits);
  std::string text = fmt::format("the model needs more memory than --memory {} allows\n", format_bytes(refusal.budget));
  text += fmt::format("  {:<22}{:>10}   {}\n", "tier ram", "needed", "at most reducible to");
  text +=
      row("weights", refusal.weights, least_weights, p.weights.whole ? "" : "the rest read from disk in every pass");
  if (const Bytes adapters = p.of(Purpose::kAdapter); adapters > Bytes{})
    text += row("adapters", adapters, adapters, "");
  if (p.kv.layers > 0) {
    const Bytes least_kv = PagePool::pool_bytes(p.pages, reduced.page_bytes()) + p.of(Purpose::kKvMeta);
    text += row(fmt::format("kv ({} tokens)", p.context * p.sequences), kv, reducible ? std::min(kv, least_kv) : kv,
                reducible ? "--kv-type q4" : "");
  }
  if (const Bytes states = p.of(Purpose::kStateSsm); states > Bytes{})
    text += row(fmt::format("states ({} sequence{})", p.sequences, p.sequences == 1 ? "" : "s"), states, states, "");
  text += row("activations, logits", activations, activations, fmt::format("at --chunk {}", p.limits.rows));
  text += row("loading, then free", p.load_of(Purpose::kWeightsStaging), p.load_of(Purpose::kWeightsStaging),
              "while kv and activations are not yet there");
  text += row("runtime, margin", rest, rest, "");
  text += fmt::format("smallest budget that works{}: --memory {}\n", refusal.context_was_asked ? " as asked" : "",
                      budget_argument(refusal.smallest_budget));
  if (!p.weights.whole)
    text += fmt::format("with all weights in memory: --memory {}\n", budget_argument(refusal.whole_budget));
  if (refusal.with_scratch) {
    text += fmt::format("smallest budget with keys and values on a disk: --scratch FOLDER --memory {}\n",
                        budget_argument(*refusal.with_scratch));
  }
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

bool may_spill(const InferenceWish& wish) {
  const bool keeps_pages = wish.kv_select.method == KvMethod::kAll || wish.kv_select.method == KvMethod::kQuest;
  return keeps_pages && wish.kv_type.keys != KvType::kQ4C;
}

namespace {

// Error(kUsage) where the model has nothing to select from, or none that a method knows how to.
void validate_selection(const InferenceWish& wish, const ModelConfig& config) {
  const KvSelect& select = wish.kv_select;
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::kUsage, fmt::format("--kv-select {}: {}", name(select), why));
  };
  if (config.attention_layers() == 0)
    refuse(fmt::format("{} has no attention, so no keys and values to select from", config.architecture));
  if (config.latent.kv_lora_rank > 0)
    refuse(
        fmt::format("{} keeps one latent row for all heads, from which nothing is selected yet", config.architecture));
  const SelectionShape shape = selection_shape(config, select, kv_layout(config, wish.kv_type));
  if (std::find(shape.layers.begin(), shape.layers.end(), true) == shape.layers.end()) {
    refuse(fmt::format("no layer of {} reads its whole context{}; run it without", config.architecture,
                       select.method == KvMethod::kQuest ? fmt::format(" behind the first {}", kDenseLayers) : ""));
  }
  if (select.method == KvMethod::kQuest) return;
  Index widest = 0;
  for (const LayerConfig& layer : config.layers) widest = std::max(widest, layer.window);
  if (select.tokens < widest) {
    refuse(fmt::format("expected {} of at least {}, which some layers of {} read",
                       select.votes() ? "tokens" : "a window", widest, config.architecture));
  }
  if (wish.scratch && !may_spill(wish)) {
    refuse(select.votes()
               ? "every KV head keeps other positions, which no page on a disk holds; run it without --scratch"
               : "its keys and values do not grow; run it without --scratch");
  }
  if (wish.prefix_store) refuse("what it drops no later prompt could use; run it without --prefix-store");
}

// Error(kUsage) where keys per channel meet what looks at single positions of stored keys, or takes them elsewhere.
void validate_channel_keys(const InferenceWish& wish, const ModelConfig& config) {
  const auto refuse = [](const std::string& why) {
    throw Error(ErrorKind::kUsage, fmt::format("--kv-type-k {}: {}", name(KvType::kQ4C), why));
  };
  if (config.latent.kv_lora_rank > 0)
    refuse(fmt::format("{} keeps keys and values in one row; --kv-type q8 would do", config.architecture));
  const std::string two_forms = "its newest keys are also kept in full, ";
  if (wish.kv_select.method != KvMethod::kAll)
    refuse(two_forms + "which no selection looks at yet; run it without --kv-select, or with --kv-type-k q8");
  if (wish.scratch && !may_spill(wish))
    refuse(two_forms + "which do not go to a disk yet; run it without --scratch, or with --kv-type-k q8");
  if (wish.prefix_store)
    refuse(two_forms + "which no page of a prefix holds; run it without --prefix-store, or with --kv-type-k q8");
}

}  // namespace

void validate_values_type(KvType values, std::string_view flag) {
  if (values != KvType::kQ4C) return;
  throw Error(ErrorKind::kUsage, fmt::format("{0} {1}: expected f32, f16, bf16, q8 or q4, for {1} is a type of keys; "
                                             "--kv-type-k {1} --kv-type-v q4 would do",
                                             flag, name(values)));
}

void validate(const InferenceWish& wish, const ModelConfig& config) {
  const auto expect = [](bool holds, const char* flag, Index value, const std::string& range) {
    if (!holds) throw Error(ErrorKind::kUsage, fmt::format("{} {}: expected {}", flag, value, range));
  };
  const Index most = std::min(config.max_position_embeddings, kLargestContext);
  if (wish.context)
    expect(*wish.context >= 1 && *wish.context <= most, "--context", *wish.context,
           fmt::format("1 to {}, the model's own", most));
  validate_values_type(wish.kv_type.values, "--kv-type-v");
  if (wish.kv_type.keys == KvType::kQ4C) validate_channel_keys(wish, config);
  if (wish.kv_select.method != KvMethod::kAll) validate_selection(wish, config);
  if (wish.kv_rotate &&
      (config.attention_layers() == 0 || config.latent.kv_lora_rank > 0 || config.head_dim % 2 != 0)) {
    throw Error(ErrorKind::kUsage, fmt::format("--kv-rotate: expected heads of an even size with keys and values of "
                                               "their own, {} has none; run it without",
                                               config.architecture));
  }
  const KvTypes kv = wish.kv_type;
  if (config.latent.kv_lora_rank > 0 && kv.keys != kv.values) {
    throw Error(ErrorKind::kUsage,
                fmt::format("--kv-type-v {}: expected {}, the type of the keys: {} keeps both in one row",
                            name(kv.values), name(kv.keys), config.architecture));
  }
  if (wish.chunk) expect(*wish.chunk >= 1 && *wish.chunk <= 65536, "--chunk", *wish.chunk, "1 to 65536 tokens");
  expect(wish.sequences >= 1 && wish.sequences <= 4096, "sequences", wish.sequences, "1 to 4096");
  if (!wish.context) {
    expect(wish.context_needed <= most, "prompt and tokens to generate together need a context of", wish.context_needed,
           fmt::format("at most {}, the model's own context; shorten the prompt or lower -n", most));
  }
}

}  // namespace jericho
