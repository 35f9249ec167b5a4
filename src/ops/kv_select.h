// Which stored keys and values a token reads when a person asked for fewer than all of them: lossy, by name only, never
// chosen by the planner. Without a name nothing here runs. docs/memory.md#selective-kv says what each method keeps.
//   streaming:S+W  every token reads the first S positions and the W newest (StreamingLLM, Xiao et al. 2023,
//                  arXiv:2309.17453); what lies between is dropped for good
//   quest:N        a generated token reads the N positions, in blocks of 64, whose keys promise most (Quest, Tang et
//                  al. 2024, arXiv:2406.10774); all are kept. A prompt reads everything
//   h2o:N          each KV head keeps N / 2 positions that were attended to most so far, and the newest (H2O, Zhang et
//                  al. 2023, arXiv:2306.14048, section 4); the others are dropped for good. A prompt reads everything
//   snapkv:N[,W]   at the end of a prompt each KV head keeps N positions: its last W, and those to which they attend
//                  most (SnapKV, Li et al. 2024, arXiv:2404.14469, section 4); generated ones are all added
// Start at parse_kv_select().
#pragma once

#include <limits>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/index.h"
#include "kernels/attention.h"

namespace jericho {

enum class KvMethod { kAll, kStreaming, kQuest, kH2O, kSnapKv };

// Of h2o: tokens that are generated between two times that it drops something.
inline constexpr Index kDropInterval = kAttentionBlock;

struct KvSelect {
  KvMethod method = KvMethod::kAll;
  Index sinks = 0;   // of streaming: the first positions, which stay
  Index tokens = 0;  // of streaming: the newest, the token's own among them; of quest: those that are read; else kept
  Index window = 0;  // of snapkv: the last tokens of a prompt, which vote

  bool operator==(const KvSelect&) const = default;
  [[nodiscard]] Index blocks() const { return tokens / kAttentionBlock; }
  // Do tokens from this position on read less than everything? Of streaming only.
  [[nodiscard]] bool streams(Index position) const {
    return method == KvMethod::kStreaming && position >= sinks + tokens;
  }
  // Are positions dropped that each KV head chooses for itself (ops/kv_votes.h)?
  [[nodiscard]] bool votes() const { return method == KvMethod::kH2O || method == KvMethod::kSnapKv; }
  // Of those methods: the most positions that a generated token may find; where there are more, all but `tokens` are
  // dropped before it. The first one behind a prompt ends that prompt.
  [[nodiscard]] Index most_stored(bool ends_prompt) const {
    if (ends_prompt) return tokens;
    return method == KvMethod::kH2O ? tokens + kDropInterval - 1 : std::numeric_limits<Index>::max();
  }
  // And of those the newest that are kept whoever votes.
  [[nodiscard]] Index newest() const { return method == KvMethod::kH2O ? tokens - tokens / 2 : window; }
};

// Of quest: layers that read everything, since the first ones attend to no few keys (section 4 of the paper).
inline constexpr Index kDenseLayers = 2;
// Of quest: the first block and the two newest are always among those that are read, so that fewer than one more would
// select nothing.
inline constexpr Index kFewestBlocks = 4;

std::string name(const KvSelect& select);  // "quest:2048"; "all"
// Error(kUsage) that names the value and what is accepted.
KvSelect parse_kv_select(std::string_view text);

}  // namespace jericho
