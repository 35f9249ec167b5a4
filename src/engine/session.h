// Sequences over one paged KV cache and one pool of states, advanced together in batches. A session executes a Plan: it
// leases what the plan says and nothing else. Start at Session::forward().
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/index.h"
#include "engine/cold_kv.h"
#include "engine/model.h"
#include "engine/preemption.h"
#include "memory/arena.h"
#include "memory/page_pool.h"
#include "ops/context.h"
#include "plan/plan.h"
#include "tensor/view.h"
#include "text/tokenizer.h"

namespace jericho {

enum class KvBacking { kPopulate, kOnDemand };  // back the pool's pages at once, or as they are first used

using SequenceId = std::int32_t;

enum class LogitRows { kNone, kLast, kAll };

// Where the plan selects keys and values as a text goes on: tokens of a prompt read all of them, those that are
// generated a selection (ops/kv_select.h).
enum class KvReading { kAll, kSelected };

struct BatchItem {  // the next tokens of one sequence
  SequenceId sequence = 0;
  std::span<const TokenId> tokens{};
  LogitRows logits = LogitRows::kLast;
  KvReading reads = KvReading::kAll;
};

// One thread. The model outlives the session.
class Session {
 public:
  // `scratch` says where keys and values go that the plan has no RAM for, `io` what reads and writes them, by default
  // the best there is. Throws what ScratchFile throws.
  Session(const Context& context, const Model& model, const Plan& plan, KvBacking backing,
          const ScratchOptions& scratch = {}, std::unique_ptr<IoBackend> io = nullptr);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // An empty sequence, whose tokens all have these adapters, of ranks up to what the plan says; they outlive it. At
  // most plan.sequences are open at once; opening more is a bug.
  SequenceId open(AdapterList adapters);
  SequenceId open() { return open(default_adapters_); }
  // Those of sequences that are opened without any of their own.
  void adapt_by_default(AdapterList adapters) { default_adapters_ = adapters; }
  void close(SequenceId sequence);                        // its pages and state return to their pools
  [[nodiscard]] Index length(SequenceId sequence) const;  // tokens read so far
  [[nodiscard]] bool failed(SequenceId sequence) const;
  [[nodiscard]] Index context() const { return plan_.context; }
  [[nodiscard]] Index chunk() const { return plan_.limits.rows; }

  // Reads the items' tokens, at most chunk() in all, each sequence at most once. Returns the logits asked for, in the
  // items' order, [rows, vocab_size], valid until the next call. Error(kInput) when a sequence would outgrow the
  // context or a token is not of the vocabulary; nothing has changed then. Nor has it where weights that stream could
  // not be read, Error(kIo) or Error(kInput): the same tokens may be given again, unless the model has states or a part
  // of the keys and values is cold. Then, and when the scratch file fails or a batch finds too few pages, the items'
  // sequences have failed(): they keep no pages and can only be closed.
  MatrixView<const float> forward(std::span<const BatchItem> items);

  // forward() in chunks for a text of any length; logits of the last token. `progress` runs after each chunk.
  using Progress = std::function<void(Index done, Index total)>;
  std::span<const float> prefill(SequenceId sequence, std::span<const TokenId> tokens, const std::stop_token& stop = {},
                                 const Progress& progress = {});

  // For tests and experiments: how sequences make room, instead of the cheapest way.
  void preempt_by(Preemption how) { how_ = how; }

  // Lets `fill` write the pages of an empty sequence, one after the other, until it says false; what they hold are the
  // keys and values of `tokens`, which the sequence has read then. Returns how many. None where a page does not hold
  // all that they left: where there are states beside it, or keys in two forms.
  using FillPage = std::function<bool(Index page, std::span<std::byte> bytes)>;
  Index restore(SequenceId sequence, std::span<const TokenId> tokens, const FillPage& fill);
  // A page of which all positions were read; empty while it is not in RAM, and where keys have two forms.
  [[nodiscard]] std::span<const std::byte> page(SequenceId sequence, Index index) const;

  // Gives memory of the pool's pages back, up to about `wanted`, and returns how much, in RAM. Pages that are free go
  // first; with a scratch file the oldest that are not; without one context() may fall, not below `least_context`.
  // Several sequences keep what the plan gave them. Between two calls of forward().
  Bytes give_back(Bytes wanted, Index least_context);

  [[nodiscard]] const Preemptions& preemptions() const { return preemptions_; }
  [[nodiscard]] const ColdKv* cold() const { return cold_.get(); }  // null where all pages stay in RAM

 private:
  enum class Place { kInRam, kParked, kDropped };  // of the pages that are not cold
  struct Sequence {
    bool open = false;
    bool failed = false;
    bool in_batch = false;  // of the step that is being prepared
    Place place = Place::kInRam;
    Index opened = 0;  // rises with every open()
    Index length = 0;
    Index dropped = 0;  // of those tokens: positions that are stored no more, in each KV head others
    KvReading last_read = KvReading::kAll;  // how the last token was read
    std::vector<TokenId> tokens;            // read so far, where the plan has fewer pages than all sequences may need
    std::vector<KvReading> reads;           // of those, where the plan selects
    std::vector<PageId> pages;              // the null page where they are cold, or dropped for good
    std::vector<std::byte*> page_data;      // of `pages`, as kernels want them
    std::vector<PageId> full;               // of keys in two forms: those that are seen in full, likewise
    std::vector<std::byte*> full_data;
    PageId state = kNullPage;
    AdapterList adapters{};
  };
  void check(std::span<const BatchItem> items) const;
  void extend(Sequence& sequence, Index tokens);
  void drop_coded(Sequence& sequence);
  void drop_unread(Sequence& sequence);
  void fail(Sequence& sequence);
  void forget_pages(Sequence& sequence);
  void bring_back(Sequence& sequence);
  PageId take_page();
  void make_room();
  Sequence* youngest_idle();  // of those that are not in the batch and can make room; null: none
  Sequence* next_to_cool();   // whose oldest pages leave RAM first; null: none has any
  void preempt(Sequence& sequence);
  bool park(Sequence& sequence);
  bool unpark(Sequence& sequence);
  void read_again(Sequence& sequence);
  void drop(Sequence& sequence);
  MatrixView<const float> advance(std::span<const BatchItem> items, Index first_logits);
  MatrixView<const float> step(std::span<const BatchItem> items, Index first_logits);
  void take_back(std::span<const BatchItem> items);  // of a step that failed
  [[nodiscard]] Index number(const Sequence& sequence) const { return &sequence - sequences_.data(); }
  [[nodiscard]] Index cold_pages(const Sequence& sequence) const { return cold_ ? cold_->pages(number(sequence)) : 0; }
  // Whether the oldest group in RAM is complete: all its positions are written.
  [[nodiscard]] bool has_whole_group(const Sequence& sequence) const;
  [[nodiscard]] std::span<std::byte* const> next_group(const Sequence& sequence) const;
  [[nodiscard]] bool store_group(Sequence& sequence);
  void write_behind();
  void drop_middle(Sequence& sequence);
  [[nodiscard]] static Index stored(const Sequence& sequence) { return sequence.length - sequence.dropped; }
  [[nodiscard]] bool votes_before(const Sequence& sequence, KvReading reads) const;
  [[nodiscard]] Index tokens_until_vote(const Sequence& sequence, KvReading reads) const;
  void vote(Sequence& sequence, KvReading reads);

  const Context& context_;
  const Model& model_;
  Plan plan_;
  std::optional<PagePool> pages_;   // of keys and values, where the model attends
  std::optional<PagePool> full_;    // of keys that are seen in full, where keys have two forms
  std::optional<PagePool> states_;  // one page per sequence, where it has state spaces
  Lease meta_;
  Arena scratch_;
  Arena logits_;
  std::vector<Sequence> sequences_;
  std::unique_ptr<ColdKv> cold_;
  Arena selection_memory_;
  std::optional<KvSelection> selection_;
  std::optional<KvVotes> votes_;
  bool keeps_tokens_ = false;
  AdapterList default_adapters_{};
  Preemption how_ = Preemption::kCheapest;
  Preemptions preemptions_{};
  Index opened_ = 0;
  double seconds_per_token_ = 0;  // the least so far
};

}  // namespace jericho
