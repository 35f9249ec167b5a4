// Quoting and the flags of a plan: see command_line.h.
#include "audit/command_line.h"

#include <algorithm>

#include <fmt/format.h>

#include "plan/plan.h"

namespace jericho {

std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,+@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string command_line(const ModelSource& source, const CommandWish& wish) {
  if (source.arguments.empty()) return {};
  constexpr Index kPrompt = 512, kGenerate = 128;
  const Index generate = std::min(kGenerate, std::max<Index>(1, wish.context / 2));
  std::string text;
  if (source.has_text && wish.batch == 1) {
    text = fmt::format("jericho run {} -p 'Once upon a time' -n {}", source.arguments, generate);
  } else {
    const Index prompt = std::min(kPrompt, std::max<Index>(1, wish.context - generate));
    text = fmt::format("jericho bench {} -p {} -n {} -b {}", source.arguments, prompt, generate, wish.batch);
  }
  text += fmt::format(" -c {}", wish.context);
  const KvTypes kv = wish.kv_type;
  if (kv.keys != kv.values) {
    text += fmt::format(" --kv-type-k {} --kv-type-v {}", name(kv.keys), name(kv.values));
  } else if (kv != KvType::kF16) {
    text += fmt::format(" --kv-type {}", name(kv));
  }
  if (wish.chunk) text += fmt::format(" --chunk {}", *wish.chunk);
  if (source.threads > 0) text += fmt::format(" -t {}", source.threads);
  if (wish.budget) text += fmt::format(" --memory {}", budget_argument(*wish.budget));
  return text;
}

}  // namespace jericho
