// What will run, decided before anything is allocated: model shapes + machine + budget + wish -> Plan. Verbs execute
// the plan they were given; audit prints the same object. Start at plan_inference(). Keys and values that do not fit go
// to a scratch file where the wish allows one, weights that do not fit stream from their own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "kernels/kv_tile.h"
#include "memory/ledger.h"
#include "memory/scratch_file.h"
#include "models/config.h"
#include "models/transformer.h"
#include "models/weight_units.h"
#include "models/weights.h"
#include "ops/kv_select.h"
#include "ops/kv_votes.h"
#include "ops/paged_attention.h"
#include "ops/selected_attention.h"
#include "ops/state_space.h"

namespace jericho {

// What the process holds before the plan adds to it, as measured, and what it runs on.
struct Machine {
  Bytes runtime{};       // resident now: code, libraries, stacks, heap, without the two below
  Bytes tokenizer{};     // held by the tokenizer
  Bytes io_ring{};       // held by the I/O backend
  Bytes scratch_io{};    // that another one takes, of a scratch file or of weights that stream
  Bytes growth{};        // heap that the verb will add: sampler, texts, token lists
  Bytes startup_peak{};  // the most that was resident so far: no smaller budget can hold
  int threads = 1;
};

// What adapters beside the base take.
struct AdapterShape {
  Bytes bytes{};    // of all of them
  Bytes staging{};  // while they are loaded
  Index rank = 0;   // the largest; 0: there are none
};

struct InferenceWish {
  std::optional<Index> context{};  // tokens per sequence; unset: as many as fit, up to the model's own
  Index context_needed = 1;        // when unset, at least this many
  Index sequences = 1;             // held at once
  Bytes heap_per_token{};          // what the verb's own lists take for each token of context
  KvTypes kv_type{};
  bool kv_rotate = false;        // keys and values are stored as their Hadamard transforms
  KvSelect kv_select{};          // which of them a token reads
  std::optional<Index> chunk{};  // tokens per forward pass; unset: 512, less where that helps to fit
  bool all_logits = false;       // logits of every row, not only of the last of each sequence
  bool scratch = false;          // there is a folder for keys and values that do not fit in RAM
  bool prefix_store = false;     // pages of earlier prompts are kept on a disk
  AdapterShape adapters{};
  bool preempt = false;  // not all sequences need their pages in RAM at once
};

// Keys and values beyond RAM: the oldest pages of a sequence go to a scratch file a group at a time, and come back a
// layer of a group, a block of the file, at a time whenever attention reads them.
struct ColdPlan {
  Index group_pages = 0;   // a multiple of an attention block; 0: all pages stay in RAM
  Index ring = 0;          // blocks on their way to be read
  Index visits = 0;        // of blocks that attention asks for in one step, at most
  Bytes carried{};         // between the windows of a layer
  ScratchShape scratch{};  // a slot per group, a block per layer

  // Of the ring, of the block that is written ahead of its need, and of what is carried.
  [[nodiscard]] Bytes ring_bytes() const { return scratch.block_bytes * (ring + 1) + round_up(carried, Bytes{4096}); }
};

inline constexpr Index kLargestChunk = 512;
inline constexpr Index kSmallestChunk = 32;
inline constexpr Index kLargestContext = Index{1} << 21;  // where the angles of RoPE lose their accuracy (base/math.h)

// A store of prefixes on a disk (engine/prefix_store.h): records of one page, in segments.
struct PrefixShape {
  static constexpr Bytes kHeaderBlock{4096};
  static constexpr Bytes kSegment = 256_MiB;  // at most

  Bytes payload{};    // of a record: a page
  Index records = 0;  // of a segment
  Index segments = 16;

  [[nodiscard]] Bytes record_bytes() const { return kHeaderBlock + payload; }
  [[nodiscard]] Bytes segment_bytes() const { return record_bytes() * records; }
  [[nodiscard]] Bytes disk_bytes() const { return segment_bytes() * segments; }
  [[nodiscard]] Bytes meta_bytes() const { return Bytes{128} * (records * segments); }  // of the index, at most
};
PrefixShape prefix_shape(const KvLayout& kv);

struct PlanRow {
  Purpose purpose{};
  Bytes bytes{};
};

struct Plan {
  Index context = 0;
  Index sequences = 0;
  Index pages = 0;  // of the KV pool; none where no layer attends
  ColdPlan cold{};
  std::optional<PrefixShape> prefix{};  // of the store of prefixes, where there is one
  BatchLimits limits{};
  KvLayout kv{};
  std::optional<SelectionShape> selection{};  // where not every token reads all keys and values
  StateLayout state{};                        // one page of it per sequence, where the model has any
  WeightResidency weights{};                  // which are in memory
  bool long_context = false;                  // LongRoPE's long list of factors: by the wish alone, never by the budget
  std::vector<PlanRow> load{};                // leased while weights are read, besides `always`
  std::vector<PlanRow> run{};                 // leased while tokens are computed
  std::vector<PlanRow> always{};

  [[nodiscard]] Bytes of(Purpose purpose) const;  // at once; 0 when the plan has no such row
  [[nodiscard]] Bytes load_of(Purpose purpose) const;
  [[nodiscard]] Bytes run_of(Purpose purpose) const;
  [[nodiscard]] Bytes peak() const;  // the larger of the two phases
  // Of a sequence's table: its whole context.
  [[nodiscard]] Index table_pages() const { return kv.layers > 0 ? ceil_div(context, kPageTokens) : 0; }
  // Of the pool if every sequence had in RAM what it keeps: its whole context, or its sinks and its window.
  [[nodiscard]] Index all_pages() const;
  // Of the pool of keys that are seen in full, where keys have two forms (kernels/channel_keys.h).
  [[nodiscard]] Index full_key_pages() const;
  [[nodiscard]] Bytes full_key_bytes() const;
  [[nodiscard]] Bytes selection_bytes() const;
  // Does nothing move between memory and disk from the first token to the last?
  [[nodiscard]] bool all_in_memory() const { return weights.whole && cold.group_pages == 0; }
  // Sequences make room for one another, and are read again from their tokens.
  [[nodiscard]] bool preempts() const { return sequences > 1 && pages < all_pages(); }
};

// Why nothing fits, with what would.
struct DoesNotFit {
  Bytes budget{};
  Plan smallest{};                      // the wish as asked, at the least it can take
  Bytes smallest_budget{};              // with it the wish works; with 2 % less it is refused
  Bytes weights{};                      // all of them
  Bytes whole_budget{};                 // with it they are all in memory
  std::optional<Bytes> with_scratch{};  // a budget that works when a scratch file may be used, where that is less
  bool context_was_asked = false;
  std::vector<std::pair<KvTypes, Index>> largest_context{};  // tokens that fit the budget at each KV type; 0: none
};

std::variant<Plan, DoesNotFit> plan_inference(const ModelConfig& config, const WeightLayout& weights,
                                              const Machine& machine, Bytes budget, const InferenceWish& wish);

// Pages that go to the scratch file together: blocks near 1 MiB, as many as leave a context in tens of groups.
Index pages_of_group(const KvLayout& kv, Index context);

// Kept free for what the figures may be wrong by: 1 % of the plan, at least 512 KiB.
Bytes plan_margin(Bytes planned);

// "--memory 14.4MiB": rounded up, so that the printed figure works.
std::string budget_argument(Bytes budget);

// A table for people: what is needed, to what it can be reduced and how, and which budget works.
std::string describe(const DoesNotFit& refusal);

// Do sequences of this wish go beyond the context up to which a model with LongRoPE uses its short factors? Then they
// use the long ones from their first token on; else their context ends there, however much would fit.
bool wants_long_context(const InferenceWish& wish, const ModelConfig& config);

// Can the pages of this wish go to a scratch file? Not where their keys have two forms, nor where they are not the same
// for all heads or do not grow: validate() refuses such a wish with one, so no refusal offers it.
bool may_spill(const InferenceWish& wish);

// Error(kUsage) in the name of `flag`, by which the type of values was given, where it is one of keys only.
void validate_values_type(KvType values, std::string_view flag);

// Error(kUsage) naming flag, value and range.
void validate(const InferenceWish& wish, const ModelConfig& config);

}  // namespace jericho
