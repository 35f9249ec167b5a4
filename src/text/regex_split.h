// Cuts text with a regular expression, a literal or a class of characters, as the nodes of a tokenizer.json ask.
// Expressions run on PCRE2 with JIT and Unicode classes (of Unicode 14); the well-known ones never come here
// (known_pre_tokenizers.h).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace jericho {

// Names are those of Hugging Face's SplitDelimiterBehavior.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct SplitOptions {
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what matches is the text, what lies between is the delimiter
};

// Error(kUnsupported) when PCRE2 does not take the pattern; split() throws it too when a text exhausts PCRE2's limits.
std::unique_ptr<Splitter> make_regex_splitter(std::string_view pattern, const SplitOptions& options);
std::unique_ptr<Splitter> make_literal_splitter(std::string_view literal, const SplitOptions& options);

using InCharacterClass = bool (*)(char32_t);
std::unique_ptr<Splitter> make_class_splitter(InCharacterClass in_class,
                                              const SplitOptions& options);  // each by itself

// Puts `replacement`, which is taken literally, in place of every match. Errors are those of make_regex_splitter().
Rewrite make_regex_rewrite(std::string_view pattern, std::string_view replacement);

}  // namespace jericho
