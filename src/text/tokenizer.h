// Text to token ids and back. A tokenizer is a pipeline: special tokens are split off, each fragment between them is
// normalized, cut into pieces by the pre-tokenizer, and each piece is encoded by the model. Loaders (load_tokenizer.h)
// fill the parts. Start at Tokenizer::encode().
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/index.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/special_tokens.h"
#include "text/token_model.h"
#include "text/vocabulary.h"

namespace jericho {

// Whether "<|eot_id|>" in the text becomes that token. User-defined pieces that are no control tokens match either way.
enum class SpecialTokens { kParse, kAsText };

struct EncodeOptions {
  bool add_bos = true;  // add the tokens before and after the text that the model's files ask for
  SpecialTokens special = SpecialTokens::kParse;
};

struct TokenizerParts {
  Vocabulary vocabulary{};  // indexed
  std::unique_ptr<TokenModel> model{};
  std::vector<AddedToken> added{};  // matched in the text before it is encoded
  Normalizer normalizer{};
  Normalizer before_pieces{};  // steps between the added tokens that are matched in normalized text and the cut
  PreTokenizer pre_tokenizer{};
  std::vector<TokenId> prefix{};  // what add_bos puts before the text: <s>
  std::vector<TokenId> suffix{};  // and after it
  std::optional<TokenId> bos{};
  std::optional<TokenId> eos{};
  std::optional<TokenId> unk{};
  std::vector<TokenId> end_of_generation{};
  bool strips_leading_space = false;   // decode() takes back the space that encode() put before the text
  bool strips_trailing_space = false;  // decode() drops a space at the end: words end in one
  Rewrite decode_piece{};              // what a token's text becomes in decode(); none: itself
  std::vector<std::string> notes{};    // what a user should know about how the files were read
};

// Immutable, thread-safe.
class Tokenizer {
 public:
  explicit Tokenizer(TokenizerParts parts);
  virtual ~Tokenizer();

  // Any bytes are text: what is not UTF-8 becomes byte tokens where the model has them. Above 1 GiB: Error(kInput).
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // The text of a whole sequence: no control tokens, no space that encode() added, U+FFFD for what is not UTF-8.
  // Ids outside the vocabulary have no text.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids) const;

  // The bytes of one token as they stand in text, nothing stripped; of a control token, its name. Empty outside the
  // vocabulary.
  [[nodiscard]] std::string piece(TokenId id) const;

  [[nodiscard]] Index size() const { return parts_.vocabulary.size(); }
  [[nodiscard]] std::optional<TokenId> bos() const { return parts_.bos; }
  [[nodiscard]] std::optional<TokenId> eos() const { return parts_.eos; }
  [[nodiscard]] std::optional<TokenId> unk() const { return parts_.unk; }
  [[nodiscard]] const std::vector<TokenId>& end_of_generation() const { return parts_.end_of_generation; }  // ascending
  [[nodiscard]] bool adds_bos() const;
  [[nodiscard]] bool is_control(TokenId id) const;                          // has no text in decode()
  [[nodiscard]] std::optional<TokenId> find(std::string_view piece) const;  // by the bytes that piece() returns
  [[nodiscard]] std::string decoded_piece(TokenId id) const;  // the text of one token in decode(), nothing stripped
  [[nodiscard]] bool strips_trailing_space() const { return parts_.strips_trailing_space; }
  [[nodiscard]] bool strips_leading_space() const { return parts_.strips_leading_space; }
  [[nodiscard]] const std::vector<std::string>& notes() const { return parts_.notes; }
  [[nodiscard]] Bytes memory_bytes() const;  // heap held, for the ledger's purpose `tokenizer`

 private:
  void encode_fragment(std::string_view text, FragmentPlace place, bool with_control, MergeScratch& scratch,
                       std::vector<TokenId>& out) const;
  void encode_plain(std::string_view text, FragmentPlace place, MergeScratch& scratch, std::vector<TokenId>& out) const;

  TokenizerParts parts_;
  AddedTokenMatcher raw_added_;
  AddedTokenMatcher normalized_added_;
};

}  // namespace jericho
