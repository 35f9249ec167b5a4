// A vocabulary that was learned from text, as the keys with which a GGUF says a tokenizer: what reads and writes
// tokenizers elsewhere takes it from there. Start at tokenizer_metadata().
#pragma once

#include <string>
#include <vector>

#include "formats/metadata.h"
#include "text/bpe_trainer.h"

namespace jericho {

struct TokenizerRecipe {
  enum class Kind { kByteLevel, kSentencePiece };
  Kind kind = Kind::kByteLevel;
  Index vocabulary = 4096;         // all ids: special ones, bytes or characters, merges
  std::string cuts = "llama-bpe";  // of known_pre_tokenizers.h
  std::string bos = "<s>";
  std::string eos = "</s>";            // may be the same
  std::vector<std::string> special{};  // more control tokens, such as those of a chat template

  // Error(kUsage) names what cannot be.
  void validate() const;
  [[nodiscard]] std::vector<std::string> special_tokens() const;  // in order of their ids, without repeats
  [[nodiscard]] BpeTrainer trainer() const;
  [[nodiscard]] Index symbols() const;  // of the vocabulary that the trainer is to learn
};

Metadata tokenizer_metadata(const TokenizerRecipe& recipe, const TrainedMerges& trained);

}  // namespace jericho
