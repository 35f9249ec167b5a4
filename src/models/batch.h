// What one forward pass computes: any mix of tokens of any sequences, a chunk of a prompt or one token each of many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/index.h"
#include "models/adapter.h"
#include "ops/kv_votes.h"
#include "ops/paged_attention.h"
#include "ops/selected_attention.h"
#include "ops/tiered_attention.h"

namespace jericho {

// Rows that follow one another and have the same adapters.
struct AdapterRun {
  Index first = 0;
  Index rows = 0;
  AdapterList adapters{};
};

struct Batch {                             // views of the caller's arrays
  std::span<const std::int32_t> tokens{};  // ids, one per row
  std::span<const BatchRow> rows{};        // which sequence and position each row is
  std::span<const Index> logit_rows{};     // rows whose logits are wanted, ascending
  KvPages pages{};                         // per sequence; pages of the rows' own positions are writable
  std::span<std::byte* const>
      states{};                      // per sequence its page of states, where the model has any (ops/state_space.h);
                                     // the rows of a sequence then follow one another
  KvSelection* selection = nullptr;  // of the rows that read less than everything, where a person asked for that
  KvVotes* votes = nullptr;          // of what their queries attend to, where a selection drops the rest
  ColdPages* cold = nullptr;         // of the sequences whose pages are not all in RAM, where there are any
  bool long_context = false;         // longrope: of all its sequences, from their first token on
  std::span<const AdapterRun> adapters{};  // of the rows that have some, ascending
};

struct BatchLimits {
  Index rows = 0;          // tokens in one forward()
  Index logit_rows = 0;    // of them with logits
  Index adapter_rank = 0;  // the largest of adapters that rows may have; 0: none has any
};

}  // namespace jericho
