// The pipeline and its loaders on small invented vocabularies (testdata/make_fixtures.py), which need no other data.
#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include <fmt/format.h>

#include "base/error.h"
#include "formats/metadata.h"
#include "text/byte_level_bpe.h"
#include "text/detokenizer.h"
#include "text/gguf_tokenizer.h"
#include "text/load_tokenizer.h"
#include "text/random_text.h"
#include "text/sentencepiece_bpe.h"
#include "text/test_files.h"
#include "text/tiktoken.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

namespace jericho {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::unique_ptr<Tokenizer> fixture(const std::string& name) {
  return load_tokenizer_directory(text_fixture("testdata/" + name));
}

std::vector<std::string> pieces_of(const Tokenizer& tokenizer, std::string_view text,
                                   const EncodeOptions& options = {}) {
  std::vector<std::string> pieces;
  for (const TokenId id : tokenizer.encode(text, options)) pieces.push_back(tokenizer.piece(id));
  return pieces;
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Unicode, BrokenSequencesAreReplacedByMaximalSubparts) {
  const auto repaired = [](std::string_view bytes) {
    std::string text;
    append_as_utf8(bytes, text);
    return text;
  };
  EXPECT_EQ(repaired("a\xF0\x9F\xA6"
                     "b"),
            "a\uFFFD"
            "b");                                             // one for three bytes that begin a character
  EXPECT_EQ(repaired("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate begins nothing
  EXPECT_EQ(repaired("\xC0\x80\xFF"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(repaired("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
}

TEST(Unicode, NfcComposesAndKeepsBrokenBytes) {
  EXPECT_EQ(to_nfc("e\u0301"), "\u00E9");
  EXPECT_EQ(to_nfc("e\u0301\xFF"
                   "e\u0301\xC3"),
            "\u00E9\xFF\u00E9\xC3");
  EXPECT_EQ(to_nfc("\u1100\u1161"), "\uAC00");
}

TEST(Unicode, ByteAlphabetIsThatOfGpt2) {
  EXPECT_EQ(to_byte_alphabet(std::string_view("\0\t\n \x7F\x80\xA0\xAD", 8)),
            "\u0100\u0109\u010A\u0120\u0121\u0122\u0142\u0143");
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    EXPECT_EQ(from_byte_alphabet(to_byte_alphabet(one)), one);
  }
  EXPECT_EQ(from_byte_alphabet("a b"), std::nullopt);
}

TEST(TokenizerJson, ByteLevelModelMergesByRank) {
  const auto tokenizer = fixture("byte-level");
  EXPECT_THAT(pieces_of(*tokenizer, "hello the"), ElementsAre("<|begin|>", "hello", " the"));
  EXPECT_THAT(pieces_of(*tokenizer, "123AB\n\n", {.add_bos = false}), ElementsAre("1", "2", "3", "A", "B", "\n\n"));
  EXPECT_THAT(pieces_of(*tokenizer, "e\u0301\u00E9", {.add_bos = false}), ElementsAre("\u00E9", "\u00E9"));
}

TEST(TokenizerJson, AddedTokensSwallowTheirWhiteSpace) {
  const auto tokenizer = fixture("byte-level");
  EXPECT_THAT(pieces_of(*tokenizer, "a <|end|> b <tool> c", {.add_bos = false}),
              ElementsAre("a", " ", "<|end|>", "b", "<tool>", " ", "c"));
  EXPECT_THAT(pieces_of(*tokenizer, "<tool><|end|>", {.add_bos = false, .special = SpecialTokens::kAsText}),
              ElementsAre("<tool>", "<", "|", "e", "n", "d", "|", ">"));
}

TEST(TokenizerJson, ConfigNamesEndOfText) {
  const auto tokenizer = fixture("byte-level");
  EXPECT_EQ(tokenizer->piece(tokenizer->eos().value()), "<|end|>");
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_TRUE(tokenizer->is_control(*tokenizer->eos()));
  EXPECT_FALSE(tokenizer->is_control(tokenizer->find("<tool>").value()));
  EXPECT_THAT(tokenizer->end_of_generation(), ElementsAre(*tokenizer->eos()));
}

TEST(TokenizerJson, MetaspacePrefixesOnlyTheStart) {
  const auto tokenizer = fixture("metaspace");
  EXPECT_THAT(pieces_of(*tokenizer, "abc a</s>a"), ElementsAre(" ab", "c", " a", "</s>", "a"));
  EXPECT_THAT(pieces_of(*tokenizer, " a"), ElementsAre(" a"));  // the space is there already
  EXPECT_THAT(pieces_of(*tokenizer, "\u00E9"), ElementsAre(" ", "\xC3", "\xA9"));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("abc  \u00E9")), "abc  \u00E9");
}

TEST(TokenizerModel, SentencePieceFollowsScores) {
  const auto tokenizer = fixture("sentencepiece");
  EXPECT_THAT(pieces_of(*tokenizer, "ab"), ElementsAre("<s>", " a", "b", "</s>"));
  EXPECT_THAT(pieces_of(*tokenizer, "bcab", {.add_bos = false}), ElementsAre(" ", "bc", "ab"));
  EXPECT_THAT(tokenizer->end_of_generation(), ElementsAre(0, 2));
}

TEST(TokenizerModel, UnusedPiecesAreTakenApart) {
  const auto tokenizer = fixture("sentencepiece");
  EXPECT_THAT(pieces_of(*tokenizer, "abc", {.add_bos = false}), ElementsAre(" a", "bc"));
}

TEST(TokenizerModel, PrefixFollowsTheLegacyFlag) {
  const auto modern = fixture("sentencepiece");
  EXPECT_THAT(pieces_of(*modern, "a</s>a", {.add_bos = false}), ElementsAre(" a", "</s>", "a"));
  const auto legacy = load_tokenizer_file(text_fixture("testdata/sentencepiece/tokenizer.model"));
  EXPECT_THAT(pieces_of(*legacy, "a</s>a", {.add_bos = false}), ElementsAre(" a", "</s>", " a"));
}

TEST(TokenizerModel, DeepChainOfUnusedPiecesNeedsNoStack) {
  Vocabulary vocabulary;
  std::vector<float> scores;
  constexpr int kDeep = 2000;
  for (int n = 1; n <= kDeep; ++n) {
    vocabulary.add(std::string(static_cast<std::size_t>(n), 'a'), n == 1 ? TokenKind::kNormal : TokenKind::kUnused);
    scores.push_back(static_cast<float>(n));
  }
  vocabulary.build_index();
  TokenizerParts parts;
  parts.model = std::make_unique<SentencePieceBpe>(vocabulary, scores, std::nullopt);
  parts.vocabulary = std::move(vocabulary);
  const Tokenizer tokenizer(std::move(parts));
  EXPECT_EQ(tokenizer.encode(std::string(kDeep, 'a')), std::vector<TokenId>(kDeep, 0));
}

TEST(TokenizerModel, TiktokenTakesWholePieces) {
  const auto tokenizer = fixture("tiktoken");
  EXPECT_THAT(pieces_of(*tokenizer, "hello world he"), ElementsAre("hello", " world", " ", "he"));
  EXPECT_EQ(tokenizer->bos(), std::nullopt);
}

// Ranks as large as the family's, with the bytes and one long piece that only one way of cutting lets through.
TEST(TokenizerModel, TiktokenFamiliesAreToldByTheirSize) {
  const auto of_size = [](Index ranks) {
    std::string text;
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int byte = 0; byte < 256; ++byte) {
      text += kDigits[static_cast<std::size_t>(byte >> 2)];
      text += kDigits[static_cast<std::size_t>((byte & 3) << 4)];
      text += fmt::format("== {}\n", byte);
    }
    for (Index rank = 256; rank + 1 < ranks; ++rank) {  // bytes from 0xFC on, which no text has
      const auto digit = [&](int shift) { return kDigits[static_cast<std::size_t>((rank >> shift) & 63)]; };
      text += fmt::format("/{}{}{} {}\n", digit(12), digit(6), digit(0), rank);
    }
    text += fmt::format("aUlQ {}\n", ranks - 1);  // "iIP"
    return Tokenizer(read_tiktoken(text, {}));
  };
  const Tokenizer llama4 = of_size(200000);
  EXPECT_EQ(llama4.size(), 202048);
  EXPECT_EQ(llama4.find("<|header_start|>"), 200005);
  EXPECT_EQ(llama4.find("<|finetune_right_pad|>"), 200018);
  EXPECT_EQ(llama4.find("<|image_start|>"), 200080);
  EXPECT_EQ(llama4.find("<|patch|>"), 200092);
  EXPECT_EQ(llama4.find("<|reasoning_thinking_start|>"), 201142);
  EXPECT_EQ(llama4.bos(), 200000);
  EXPECT_THAT(pieces_of(llama4, "iIP", {.add_bos = false}), ElementsAre("i", "I", "P"));  // cut before the capital
  EXPECT_EQ(of_size(199998).eos(), 199999);
  EXPECT_THAT(pieces_of(of_size(100256), "iIP<|fim_middle|>"), ElementsAre("iIP", "<|fim_middle|>"));
  EXPECT_EQ(of_size(50256).eos(), 50256);
  EXPECT_TRUE(of_size(50256).notes().empty());
  EXPECT_THAT(of_size(300).notes(), ElementsAre(HasSubstr("300 pieces")));
}

TEST(VocabMerges, EndOfTextIsTheOneSpecialToken) {
  const auto tokenizer = fixture("vocab-merges");
  EXPECT_THAT(pieces_of(*tokenizer, "hello<|endoftext|> the"), ElementsAre("hello", "<|endoftext|>", " the"));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("hello<|endoftext|> the")), "hello the");
  EXPECT_EQ(tokenizer->eos(), tokenizer->find("<|endoftext|>"));
}

TEST(LoadTokenizer, SaysWhatItLookedFor) {
  const std::string message = error_of([] { load_tokenizer_directory(text_fixture("corpus")); });
  EXPECT_THAT(message, HasSubstr("tokenizer.json, tokenizer.model, and vocab.json with merges.txt"));
}

Metadata small_gguf() {
  Metadata metadata;
  metadata.set("tokenizer.ggml.model", std::string("llama"));
  metadata.set("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "</s>", "\u2581", "a",
                                                                 "\u2581"
                                                                 "a",
                                                                 "<0x0A>"});
  metadata.set("tokenizer.ggml.scores", std::vector<double>{0, 0, 0, -3, -2, -1, 0});
  metadata.set("tokenizer.ggml.token_type", std::vector<std::int64_t>{2, 3, 3, 1, 1, 1, 6});
  return metadata;
}

TEST(GgufTokenizer, DefaultsOfSentencePieceHold) {
  Metadata metadata = small_gguf();
  const Tokenizer tokenizer(read_gguf_tokenizer(metadata));
  EXPECT_THAT(tokenizer.encode("a\na"), ElementsAre(1, 5, 6, 4));
  EXPECT_THAT(tokenizer.encode("a</s>a"), ElementsAre(1, 5, 2, 5));
  EXPECT_THAT(tokenizer.encode("xyz", {.add_bos = false}), ElementsAre(3, 0));  // unknown characters fuse
  EXPECT_THAT(tokenizer.encode(""), ElementsAre(1));
  EXPECT_EQ(tokenizer.piece(5), " a");
  EXPECT_EQ(tokenizer.piece(99), "");
  EXPECT_FALSE(metadata.has("tokenizer.ggml.tokens"));
}

TEST(GgufTokenizer, FlagsOverrideDefaults) {
  Metadata metadata = small_gguf();
  metadata.set("tokenizer.ggml.add_bos_token", false);
  metadata.set("tokenizer.ggml.add_eos_token", true);
  metadata.set("tokenizer.ggml.add_space_prefix", false);
  const Tokenizer tokenizer(read_gguf_tokenizer(metadata));
  EXPECT_THAT(tokenizer.encode("a a"), ElementsAre(4, 5, 2));
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{5}), " a");
}

TEST(GgufTokenizer, UnknownPreTokenizerIsNamed) {
  Metadata metadata = small_gguf();
  metadata.set("tokenizer.ggml.model", std::string("gpt2"));
  metadata.set("tokenizer.ggml.pre", std::string("brand-new"));
  const std::string message = error_of([&] { read_gguf_tokenizer(metadata); });
  EXPECT_THAT(message, HasSubstr("'brand-new'"));
  EXPECT_THAT(message, HasSubstr("gpt-2"));
}

TEST(GgufTokenizer, AbsentTokenizerSuggestsIds) {
  Metadata metadata;
  EXPECT_THAT(error_of([&] { read_gguf_tokenizer(metadata); }), HasSubstr("has no tokenizer; give ids with --tokens"));
}

TEST(GgufTokenizer, IdsOutsideTheVocabularyAreRefused) {
  Metadata metadata = small_gguf();
  metadata.set("tokenizer.ggml.eos_token_id", std::uint64_t{7});
  EXPECT_THAT(error_of([&] { read_gguf_tokenizer(metadata); }), HasSubstr("eos_token_id is 7"));
}

TEST(GgufTokenizer, ArraysOfDifferentLengthAreRefused) {
  Metadata metadata = small_gguf();
  metadata.set("tokenizer.ggml.scores", std::vector<double>{0, 0});
  EXPECT_THAT(error_of([&] { read_gguf_tokenizer(metadata); }), HasSubstr("2 entries for 7 tokens"));
}

TEST(AddedTokenMatcher, TakesTheLeftmostThenTheLongest) {
  const AddedTokenMatcher matcher({{.id = 1, .text = "<a>"}, {.id = 2, .text = "<a><b>"}, {.id = 3, .text = "<b>x"}});
  const auto match = matcher.next("y<a><b>x", 0, true);
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->id, 2);
  EXPECT_EQ(match->begin, 1u);
  EXPECT_FALSE(matcher.next("<a", 0, true).has_value());
  EXPECT_FALSE(matcher.next("<a>", 0, false).has_value());
}

TEST(AddedTokenMatcher, SingleWordsStandAlone) {
  const AddedTokenMatcher matcher({{.id = 1, .text = "cat", .single_word = true}});
  EXPECT_FALSE(matcher.next("concat cats", 0, true).has_value());
  EXPECT_EQ(matcher.next("concat cat.", 0, true).value().begin, 7u);
}

// Every way to cut a sequence in two: what the first part gave never changes, and the whole is decode()'s text.
TEST(Detokenizer, EqualsDecodeAtEveryCut) {
  for (const char* name :
       {"byte-level", "metaspace", "sentencepiece", "unigram", "unigram-json", "tiktoken", "word-piece", "word-ends"}) {
    const auto tokenizer = fixture(name);
    RandomText random(3);
    for (int i = 0; i < 200; ++i) {
      const std::string text = i % 2 == 0 ? random.unicode(12) : random.bytes(12);
      const auto ids = tokenizer->encode(text);
      const std::string whole = tokenizer->decode(ids);
      Detokenizer stream(*tokenizer);
      std::string so_far;
      for (std::size_t cut = 0; cut <= ids.size(); ++cut) {
        std::string valid;
        append_as_utf8(so_far, valid);
        ASSERT_EQ(so_far, valid);
        ASSERT_TRUE(whole.starts_with(so_far));
        if (cut < ids.size()) so_far += stream.push(ids[cut]);
      }
      ASSERT_EQ(so_far + stream.finish(), whole) << name;
    }
  }
}

TEST(Detokenizer, WaitsForWholeCharacters) {
  const auto tokenizer = fixture("tiktoken");
  Detokenizer stream(*tokenizer);
  EXPECT_EQ(stream.push(0xF0), "");
  EXPECT_EQ(stream.push(0x9F), "");
  EXPECT_EQ(stream.push(0xA6), "");
  EXPECT_EQ(stream.push(0x99), "\U0001F999");
  EXPECT_EQ(stream.push(0xE2), "");
  EXPECT_EQ(stream.push('a'),
            "\uFFFD"
            "a");
  EXPECT_EQ(stream.push(0xE2), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Detokenizer, StripsOneSpaceAtTheStartOnly) {
  const auto tokenizer = fixture("sentencepiece");
  const auto ids = tokenizer->encode("a a");
  EXPECT_EQ(tokenizer->decode(ids), "a a");
  Detokenizer continued(*tokenizer, {.at_start = false});
  EXPECT_EQ(continued.push(ids[1]), " a");
}

TEST(Detokenizer, ShowsControlTokensOnRequest) {
  const auto tokenizer = fixture("sentencepiece");
  Detokenizer stream(*tokenizer, {.special = true});
  std::string text;
  for (const TokenId id : tokenizer->encode("a")) stream.push(id, text);
  EXPECT_EQ(text, "<s>a</s>");
}

}  // namespace
}  // namespace jericho
