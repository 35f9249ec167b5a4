// Which stored keys and values a token reads when a person asked for fewer than all of them: lossy, by name only, never
// chosen by the planner. Without a name nothing here runs. docs/memory.md#selective-kv says what each method keeps.
//   streaming:S+W  every token reads the first S positions and the W newest (StreamingLLM, Xiao et al. 2023,
//                  arXiv:2309.17453); what lies between is dropped for good
//   quest:N        a generated token reads the N positions, in blocks of 64, whose keys promise most (Quest, Tang et al.
//                  2024, arXiv:2406.10774); all are kept. A prompt reads everything
// Start at parse_kv_select().
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/index.h"
#include "kernels/attention.h"

namespace jericho {

enum class KvMethod { kAll, kStreaming, kQuest };

struct KvSelect {
  KvMethod method = KvMethod::kAll;
  Index sinks = 0;   // of streaming: the first positions, which stay
  Index tokens = 0;  // of streaming: the newest, the token's own among them; of quest: those that are read

  bool operator==(const KvSelect&) const = default;
  [[nodiscard]] Index blocks() const { return tokens / kAttentionBlock; }
  // Do tokens from this position on read less than everything? Of streaming only.
  [[nodiscard]] bool streams(Index position) const {
    return method == KvMethod::kStreaming && position >= sinks + tokens;
  }
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
