// Sequences over one paged KV cache and one pool of states, advanced together in batches. A session executes a Plan: it leases what the plan
// says and nothing else. Start at Session::forward().
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/index.h"
#include "engine/model.h"
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

struct BatchItem {  // the next tokens of one sequence
  SequenceId sequence = 0;
  std::span<const TokenId> tokens{};
  LogitRows logits = LogitRows::kLast;
};

// One thread. The model outlives the session.
class Session {
 public:
  Session(const Context& context, const Model& model, const Plan& plan, KvBacking backing);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // An empty sequence. At most plan.sequences are open at once; opening more is a bug.
  SequenceId open();
  void close(SequenceId sequence);                        // its pages and state return to their pools
  [[nodiscard]] Index length(SequenceId sequence) const;  // tokens read so far
  [[nodiscard]] Index context() const { return plan_.context; }
  [[nodiscard]] Index chunk() const { return plan_.limits.rows; }

  // Reads the items' tokens, at most chunk() in all, each sequence at most once. Returns the logits asked for, in the
  // items' order, [rows, vocab_size], valid until the next call. Error(kInput) when a sequence would outgrow the
  // context or a token is not of the vocabulary; nothing has changed then.
  MatrixView<const float> forward(std::span<const BatchItem> items);

  // forward() in chunks for a text of any length; logits of the last token. `progress` runs after each chunk.
  using Progress = std::function<void(Index done, Index total)>;
  std::span<const float> prefill(SequenceId sequence, std::span<const TokenId> tokens, const std::stop_token& stop = {},
                                 const Progress& progress = {});

 private:
  struct Sequence {
    bool open = false;
    Index length = 0;
    std::vector<PageId> pages;
    std::vector<std::byte*> page_data;  // of `pages`, as kernels want them
    PageId state = kNullPage;
  };
  void check(std::span<const BatchItem> items) const;
  void extend(Sequence& sequence, Index tokens);

  const Context& context_;
  const Model& model_;
  Plan plan_;
  std::optional<PagePool> pages_;   // of keys and values, where the model attends
  std::optional<PagePool> states_;  // one page per sequence, where it has state spaces
  Lease meta_;
  Arena scratch_;
  Arena logits_;
  std::vector<Sequence> sequences_;
};

}  // namespace jericho
