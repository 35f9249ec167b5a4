// The names of selections: see kv_select.h.
#include "ops/kv_select.h"

#include <algorithm>
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
    case KvMethod::kH2O: return fmt::format("h2o:{}", select.tokens);
    case KvMethod::kSnapKv: return fmt::format("snapkv:{},{}", select.tokens, select.window);
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
  if (method == "h2o") {
    const auto tokens = whole_number(rest);
    if (!tokens) refuse(text, "h2o:TOKENS, as in h2o:2048");
    if (*tokens < 2) refuse(text, "at least 2 tokens, one of each kind");
    return {KvMethod::kH2O, 0, *tokens};
  }
  if (method == "snapkv") {
    constexpr Index kUsualWindow = 32;
    const std::size_t comma = rest.find(',');
    const auto tokens = whole_number(rest.substr(0, comma));
    const auto window = comma == std::string_view::npos ? kUsualWindow : whole_number(rest.substr(comma + 1));
    if (!tokens || !window) refuse(text, "snapkv:TOKENS[,WINDOW], as in snapkv:2048,32");
    if (*window < 1 || *window >= *tokens)
      refuse(text,
             fmt::format("a window of at least 1 token and more tokens than that, {} would do",
                         name({KvMethod::kSnapKv, 0, 2 * std::max<Index>(*window, 1), std::max<Index>(*window, 1)})));
    return {KvMethod::kSnapKv, 0, *tokens, *window};
  }
  refuse(text, "streaming:SINKS+WINDOW, quest:TOKENS, h2o:TOKENS or snapkv:TOKENS[,WINDOW]");
}

}  // namespace jericho
