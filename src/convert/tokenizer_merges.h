// From one way to say what is merged first to another: merge rules, scores of pieces, ranks of pieces.
#pragma once

#include <string>
#include <vector>

#include "text/vocabulary.h"
#include "text/vocabulary_json.h"

namespace jericho {

// Scores with which SentencePiece merges as the rules do: minus the place of a piece in the order in which rules make
// them; pieces no rule makes come after, by id. So are those of a trained tokenizer.model, to whose order a conversion
// of it kept. Byte, control and added tokens have 0.
// Error(kUnsupported) when no scores would do: a piece whose rules are not next to each other, or two neighbours that
// make a piece without a rule.
std::vector<float> scores_of_merges(const VocabularyText& rules, const std::vector<std::string>& tokens,
                                    const std::vector<TokenKind>& kinds);

// The rules "left right", in the byte alphabet, with which byte-level encoding merges as tiktoken does by rank: each
// piece is made of the two it falls into when only earlier ranks may merge. Ranks are the ids of normal pieces.
std::vector<std::string> merges_of_ranks(const Vocabulary& vocabulary);

}  // namespace jericho
