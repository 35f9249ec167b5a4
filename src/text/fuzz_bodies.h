// What the fuzzers do with one input, shared with the test that replays their corpora: an Error is a right answer; a
// crash, a broken promise or unbounded memory is a bug.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "text/detokenizer.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

namespace jericho::fuzz {

// Every id is in the vocabulary, pushing token by token gives the text of decode(), and that is UTF-8.
inline void encode_and_decode(const Tokenizer& tokenizer, std::string_view text) {
  for (const SpecialTokens special : {SpecialTokens::kParse, SpecialTokens::kAsText}) {
    const auto ids = tokenizer.encode(text, {.special = special});
    std::string pushed;
    Detokenizer detokenizer(tokenizer);
    for (const TokenId id : ids) {
      JERICHO_CHECK(id >= 0 && id < tokenizer.size(), "id {}", id);
      pushed += detokenizer.push(id);
    }
    pushed += detokenizer.finish();
    JERICHO_CHECK(pushed == tokenizer.decode(ids), "streamed text differs");
    std::string valid;
    append_as_utf8(pushed, valid);
    JERICHO_CHECK(pushed == valid, "decoded text is not UTF-8");
  }
}

template <class Read>
void read_and_use(const Read& read) {
  try {
    const Tokenizer tokenizer(read());
    encode_and_decode(tokenizer, "a ab  abc 12 \xC3\xA9\xFF<|end|> \n");
  } catch (const Error&) {
  }
}

inline void tokenizer_json(std::string_view text) {
  read_and_use([&] { return read_tokenizer_json(text); });
}

inline void sentencepiece_model(std::string_view bytes) {
  read_and_use([&] { return read_sentencepiece_model(bytes, SpacePrefix::kAtStart); });
}

// Byte-level tokenizers lose nothing but what normalization changes; `tokenizers` come from the fixtures.
inline void encode(const std::vector<std::unique_ptr<Tokenizer>>& tokenizers, std::string_view text) {
  for (const auto& tokenizer : tokenizers) encode_and_decode(*tokenizer, text);
}

}  // namespace jericho::fuzz
