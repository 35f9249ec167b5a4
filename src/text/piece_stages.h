// Stages of a pre-tokenizer that look at pieces in another spelling, or change them.
#pragma once

#include <memory>

#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace jericho {

// Passes on what `rewrite` makes of a piece.
std::unique_ptr<Splitter> make_rewriting_stage(Rewrite rewrite);

// Cuts as `inner`, which changes no text, cuts the piece's spelling in GPT-2's byte alphabet: a stage behind ByteLevel.
std::unique_ptr<Splitter> make_byte_alphabet_stage(std::unique_ptr<Splitter> inner);

}  // namespace jericho
