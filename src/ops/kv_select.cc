// The names of selections: see kv_select.h.
#include "ops/kv_select.h"

#include <charconv>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

[[noreturn]] void refuse(std::string_view text, const std::string& expected) {
  throw Error(ErrorKind::kUsage, fmt::format("--kv-select {}: expected {}", text, expected));
}

std::optional<Index> whole_number(std::string_view text) {
  constexpr Index kMost = Index{1} << 40;
  Index value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || value < 0 || value > kMost)
    return std::nullopt;
  return value;
}

}  // namespace

std::string name(const KvSelect& select) {
  switch (select.method) {
    case KvMethod::kAll: return "all";
    case KvMethod::kStreaming: return fmt::format("streaming:{}+{}", select.sinks, select.tokens);
    case KvMethod::kQuest: return fmt::format("quest:{}", select.tokens);
  }
  return {};
}

KvSelect parse_kv_select(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view method = text.substr(0, colon);
  const std::string_view rest = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  if (method == "streaming") {
    const std::size_t plus = rest.find('+');
    const auto sinks = whole_number(rest.substr(0, plus));
    const auto window = plus == std::string_view::npos ? std::nullopt : whole_number(rest.substr(plus + 1));
    if (!sinks || !window) refuse(text, "streaming:SINKS+WINDOW, as in streaming:4+1020");
    if (*window < 1) refuse(text, "a window of at least 1 token, its own");
    return {KvMethod::kStreaming, *sinks, *window};
  }
  if (method == "quest") {
    constexpr Index kFewest = kFewestBlocks * kAttentionBlock;
    const auto tokens = whole_number(rest);
    if (!tokens) refuse(text, "quest:TOKENS, as in quest:2048");
    if (*tokens % kAttentionBlock != 0 || *tokens < kFewest) {
      const Index near = *tokens < kFewest ? kFewest : *tokens / kAttentionBlock * kAttentionBlock;
      refuse(text, fmt::format("a multiple of {}, the positions of a block, and at least {}; quest:{} would do",
                               kAttentionBlock, kFewest, near));
    }
    return {KvMethod::kQuest, 0, *tokens};
  }
  refuse(text, "streaming:SINKS+WINDOW or quest:TOKENS");
}

}  // namespace jericho
