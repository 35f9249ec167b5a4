// The unigram model and the normalization tables of SentencePiece on small invented vocabularies.
#include "text/unigram.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "formats/metadata.h"
#include "text/charsmap.h"
#include "text/gguf_tokenizer.h"
#include "text/load_tokenizer.h"
#include "text/random_text.h"
#include "text/test_files.h"
#include "text/tokenizer.h"

namespace jericho {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Piece {
  std::string text{};
  double score = 0.0;
  TokenKind kind = TokenKind::kNormal;
};

Tokenizer tokenizer_of(const std::vector<Piece>& pieces, std::optional<TokenId> unknown) {
  TokenizerParts parts;
  std::vector<double> scores;
  for (const Piece& piece : pieces) {
    parts.vocabulary.add(piece.text, piece.kind);
    scores.push_back(piece.score);
  }
  parts.vocabulary.build_index();
  parts.model = std::make_unique<Unigram>(parts.vocabulary, scores, unknown);
  return Tokenizer(std::move(parts));
}

std::vector<std::string> pieces_of(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::string> pieces;
  for (const TokenId id : tokenizer.encode(text, {.add_bos = false})) pieces.push_back(tokenizer.piece(id));
  return pieces;
}

TEST(Unigram, TakesTheLargestSum) {
  const Tokenizer tokenizer =
      tokenizer_of({{"a", -1}, {"b", -1}, {"c", -1}, {"ab", -1.5}, {"bc", -1.25}, {"abc", -3}}, std::nullopt);
  EXPECT_THAT(pieces_of(tokenizer, "abc"), ElementsAre("a", "bc"));  // -2.25 of -3, -2.5, -2.25, -3
  EXPECT_THAT(pieces_of(tokenizer, "abab"), ElementsAre("ab", "ab"));
}

TEST(Unigram, OfEqualSumsTheLongerLastPieceWins) {
  const Tokenizer tokenizer = tokenizer_of({{"a", -1}, {"b", -1}, {"ab", -2}, {"ba", -2}}, std::nullopt);
  EXPECT_THAT(pieces_of(tokenizer, "ab"), ElementsAre("ab"));
  EXPECT_THAT(pieces_of(tokenizer, "aba"), ElementsAre("a", "ba"));
}

TEST(Unigram, UnknownCharactersFuse) {
  const Tokenizer tokenizer = tokenizer_of({{"<unk>", 0, TokenKind::kUnknown}, {"a", -1}, {"xyz", -1}}, 0);
  EXPECT_THAT(tokenizer.encode("xya\u00E9\u00E9"), ElementsAre(0, 1, 0));
  EXPECT_THAT(tokenizer.encode("xyz"), ElementsAre(2));
}

TEST(Unigram, WithoutUnknownTokenTheyVanish) {
  const Tokenizer tokenizer = tokenizer_of({{"a", -1}}, std::nullopt);
  EXPECT_THAT(tokenizer.encode("xax"), ElementsAre(0));
}

TEST(Unigram, AnUnknownCharacterCostsTen) {
  // "ax" as "ax" (-12) or as "a" and unknown (-1 + -12 - 10).
  EXPECT_THAT(tokenizer_of({{"<unk>", 0, TokenKind::kUnknown}, {"a", -1}, {"ax", -12}}, 0).encode("ax"),
              ElementsAre(2));
  // The least score of a normal piece counts: "b" makes unknown cheap no more than "ax" is.
  EXPECT_THAT(tokenizer_of({{"<unk>", 0, TokenKind::kUnknown}, {"a", -1}, {"ax", -12, TokenKind::kUserDefined}}, 0)
                  .encode("ax"),
              ElementsAre(2));
}

TEST(Unigram, UnusedAndControlPiecesAreNotEmitted) {
  const Tokenizer tokenizer =
      tokenizer_of({{"a", -1}, {"aa", -0.5, TokenKind::kUnused}, {"aaa", -0.1, TokenKind::kControl}}, std::nullopt);
  EXPECT_THAT(tokenizer.encode("aaa", {.special = SpecialTokens::kAsText}), ElementsAre(0, 0, 0));
}

TEST(Unigram, ByteTokensStandForUnknownText) {
  std::vector<Piece> pieces = {{"<unk>", 0, TokenKind::kUnknown}, {"a", -1}};
  for (int byte = 0; byte < 256; ++byte)
    pieces.push_back({std::string(1, static_cast<char>(byte)), 0, TokenKind::kByte});
  const Tokenizer tokenizer = tokenizer_of(pieces, 0);
  EXPECT_THAT(tokenizer.encode("a\u00E9"), ElementsAre(1, 2 + 0xC3, 2 + 0xA9));
  RandomText random(2);
  for (int i = 0; i < 500; ++i) {
    const std::string text = random.bytes(20);
    std::string joined;
    for (const std::string& piece : pieces_of(tokenizer, text)) joined += piece;
    ASSERT_EQ(joined, text);
  }
}

TEST(Unigram, InfiniteScoresLeaveAWayThrough) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Tokenizer tokenizer = tokenizer_of({{"a", -kInfinity}, {"b", kInfinity}, {"ab", -kInfinity}}, std::nullopt);
  EXPECT_THAT(tokenizer.encode("bab"), testing::Not(testing::IsEmpty()));
}

TEST(Unigram, ModelFileNormalizesAndPrefixes) {
  const auto tokenizer = load_tokenizer_directory(text_fixture("testdata/unigram"));
  EXPECT_THAT(pieces_of(*tokenizer, "  abc\t A  "), ElementsAre(" a", "bc", " a"));
  EXPECT_THAT(pieces_of(*tokenizer, "\uFB01"), ElementsAre(" ", "fi"));
  EXPECT_THAT(pieces_of(*tokenizer, "bc<tool>a"), ElementsAre(" ", "bc", "<tool>", " a"));
  EXPECT_EQ(tokenizer->encode("   "), (std::vector<TokenId>{1}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(" ab  c ")), "ab c");
}

std::string repaired(const Charsmap& map, std::string_view text) { return map.apply_longest(text); }

TEST(Charsmap, ReplacesTheLongestKey) {
  const Charsmap map(read_text(text_fixture("testdata/charsmap")));
  EXPECT_EQ(repaired(map, "\uFB01e\u0301e\u0301xeA"), "fi\u00E9yea");
  EXPECT_EQ(repaired(map, "a\u00ADb\tc\u2003d"), "ab c  d");
  EXPECT_EQ(repaired(map, std::string_view("\0A", 2)), std::string_view("\0a", 2));
}

TEST(Charsmap, BrokenBytesBecomeReplacementCharacters) {
  const Charsmap map(read_text(text_fixture("testdata/charsmap")));
  EXPECT_EQ(repaired(map, "A\xF0\x9F\x41"), "a\uFFFD\uFFFDa");
  EXPECT_EQ(map.apply_by_grapheme("A\xF0\x9F\x41"), "a\xF0\x9F\x61");
}

TEST(Charsmap, GraphemesTakeTheShortestKeyAndLoseTheRest) {
  const Charsmap map(read_text(text_fixture("testdata/charsmap")));
  EXPECT_EQ(map.apply_by_grapheme("e\u0301x"), "\u00E9x");                     // the cluster ends before x
  EXPECT_EQ(map.apply_by_grapheme("A\u0301b"), "ab");                          // one cluster of 3 bytes
  EXPECT_EQ(map.apply_by_grapheme("\uFB01\u0301\u0301A"), "fi\u0301\u0301a");  // 7 bytes: by code points
}

TEST(Charsmap, RefusesSizesThatDoNotFit) {
  EXPECT_THROW(Charsmap("xx"), Error);
  EXPECT_THROW(Charsmap(std::string(16, '\xff')), Error);
  const std::string good = read_text(text_fixture("testdata/charsmap"));
  EXPECT_THROW(Charsmap(good.substr(0, good.size() - 1)), Error);
  EXPECT_THROW(Charsmap(good.substr(0, 20)), Error);
}

Metadata small_t5() {
  Metadata metadata;
  metadata.set("tokenizer.ggml.model", std::string("t5"));
  metadata.set("tokenizer.ggml.tokens", std::vector<std::string>{"<pad>", "</s>", "<unk>", "\u2581", "a",
                                                                 "\u2581"
                                                                 "a",
                                                                 "<extra>"});
  metadata.set("tokenizer.ggml.scores", std::vector<double>{0, 0, 0, -3, -2, -1, 0});
  metadata.set("tokenizer.ggml.token_type", std::vector<std::int64_t>{3, 3, 2, 1, 1, 1, 4});
  return metadata;
}

TEST(GgufUnigram, DefaultsOfT5Hold) {
  Metadata metadata = small_t5();
  const Tokenizer tokenizer(read_gguf_tokenizer(metadata));
  EXPECT_THAT(tokenizer.encode("a a"), ElementsAre(4, 5, 1));  // no BOS, no space before, EOS
  EXPECT_THAT(tokenizer.encode("x<extra>"), ElementsAre(2, 6, 1));
  EXPECT_EQ(tokenizer.eos(), 1);
  EXPECT_EQ(tokenizer.bos(), std::nullopt);
}

TEST(GgufUnigram, FlagsAndCharsmapAreRead) {
  Metadata metadata = small_t5();
  metadata.set("tokenizer.ggml.add_space_prefix", true);
  metadata.set("tokenizer.ggml.remove_extra_whitespaces", true);
  metadata.set("tokenizer.ggml.add_eos_token", false);
  std::vector<std::int64_t> bytes;
  for (const char c : read_text(text_fixture("testdata/charsmap"))) bytes.push_back(static_cast<unsigned char>(c));
  metadata.set("tokenizer.ggml.precompiled_charsmap", bytes);
  const Tokenizer tokenizer(read_gguf_tokenizer(metadata));
  EXPECT_THAT(tokenizer.encode("\u2003 A\t\tA "), ElementsAre(5, 5));
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{5, 5, 1}), "a a");
  EXPECT_FALSE(metadata.has("tokenizer.ggml.precompiled_charsmap"));
}

TEST(GgufUnigram, ScoresThatAreNoNumbersAreRefused) {
  Metadata metadata = small_t5();
  metadata.set("tokenizer.ggml.scores", std::vector<double>{0, 0, 0, std::nan(""), -2, -1, 0});
  try {
    read_gguf_tokenizer(metadata);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("score of token 3"));
  }
}

}  // namespace
}  // namespace jericho
