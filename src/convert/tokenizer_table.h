// What a GGUF says about a tokenizer's pieces, gathered from the files of a Hugging Face directory:
// read_tokenizer_table() has one reader per kind of file, tokenizer_to_gguf.h writes the result.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/hf_settings.h"
#include "text/tokenizer.h"

namespace jericho {

struct TokenizerTable {
  std::string model{};  // tokenizer.ggml.model: "llama", "gpt2", "t5" or "bert"
  std::string pre = "default";
  std::vector<std::string> tokens{};  // by id, as a GGUF spells them
  std::vector<TokenKind> kinds{};     // as many
  std::vector<float> scores{};        // as many, or none: "gpt2" and "bert" have none
  std::vector<std::string> merges{};  // "left right", of "gpt2"
  std::optional<bool> nfc{};          // where it is not what `pre` implies
  std::optional<bool> add_space_prefix{};
  std::optional<bool> remove_extra_whitespaces{};
  std::optional<bool> lowercase{};
  std::optional<bool> strip_accents{};
  std::string charsmap{};
  std::vector<std::string> notes{};  // what gets lost
};

// `parts` are what the text area read from the same files. Error(kUnsupported) names what no GGUF can say.
TokenizerTable read_tokenizer_table(const SideFiles& files, const TokenizerParts& parts);

}  // namespace jericho
