// Merges follow the counts, equal texts give equal vocabularies, and what is written opens as a tokenizer that splits
// text as it was learned and loses none of it.
#include "text/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "text/gguf_tokenizer.h"
#include "text/tokenizer.h"
#include "text/trained_tokenizer.h"

namespace jericho {
namespace {

using Symbols = BpeTrainer::Symbols;
using testing::ElementsAre;

BpeTrainer trainer_of(Symbols symbols, std::string_view text) {
  PreTokenizer cuts;
  cuts.add(scan_gpt2);
  BpeTrainer trainer(symbols, std::move(cuts));
  trainer.add(text);
  return trainer;
}

std::vector<std::string> learned(const TrainedMerges& trained) {
  return {trained.symbols.begin() + trained.first, trained.symbols.end()};
}

TEST(BpeTrainer, MergesTheMostFrequentPairFirst) {
  const BpeTrainer trainer = trainer_of(Symbols::kBytes,
                                        "low low low low low lower lower newest newest newest newest "
                                        "newest newest widest widest widest");
  const TrainedMerges trained = trainer.train({.symbols = 256 + 4}, {}, {});
  // "es" and "st" are seen nine times each, and 'e' is older than 's'.
  EXPECT_THAT(learned(trained), ElementsAre("es", "est", "lo", "low"));
  EXPECT_EQ(trained.merges[1].left, 256);
  EXPECT_EQ(trained.symbols[static_cast<std::size_t>(trained.merges[1].right)], "t");
}

TEST(BpeTrainer, CountsRunsOfOneLetterWithoutOverlap) {
  const TrainedMerges trained = trainer_of(Symbols::kBytes, "aaaa aaaa").train({.symbols = 258}, {}, {});
  EXPECT_THAT(learned(trained), ElementsAre("aa", "aaaa"));
}

TEST(BpeTrainer, StopsWhereNoPairIsSeenOftenEnough) {
  const TrainedMerges trained = trainer_of(Symbols::kBytes, "ab ab cd").train({.symbols = 400}, {}, {});
  EXPECT_THAT(learned(trained), ElementsAre("ab"));
  EXPECT_THAT(learned(trainer_of(Symbols::kBytes, "ab").train({.symbols = 400, .least = 1}, {}, {})),
              ElementsAre("ab"));
}

TEST(BpeTrainer, MakesNoSymbolLongerThanAsked) {
  const BpeTrainer trainer = trainer_of(Symbols::kBytes, "abababab abababab");
  for (const std::string& text : learned(trainer.train({.symbols = 300, .longest = 3}, {}, {})))
    EXPECT_LE(text.size(), 3u);
}

TEST(BpeTrainer, GivesTheSameVocabularyWhateverTheOrderOfTheText) {
  const std::string a = "the cat sat on the mat\n", b = "a dog and another dog ran\n", c = "the rain in the rain\n";
  BpeTrainer one = trainer_of(Symbols::kBytes, a + b + c), other = trainer_of(Symbols::kBytes, c);
  other.add(b);
  other.add(a);
  EXPECT_EQ(learned(one.train({.symbols = 290}, {}, {})), learned(other.train({.symbols = 290}, {}, {})));
}

TEST(BpeTrainer, LeavesRareCharactersOut) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "abc ";
  const BpeTrainer trainer = trainer_of(Symbols::kCharacters, text + "\xC3\xA9\n");
  const TrainedMerges all = trainer.train({.symbols = 20, .coverage = 1}, {}, {});
  const TrainedMerges common = trainer.train({.symbols = 20, .coverage = 0.999}, {}, {});
  EXPECT_THAT(all.symbols, testing::Contains("\xC3\xA9"));
  EXPECT_THAT(common.symbols, testing::Not(testing::Contains("\xC3\xA9")));
  EXPECT_THAT(all.symbols, testing::Not(testing::Contains("\n")));
}

TEST(BpeTrainer, SaysWhyNothingCanBeLearned) {
  EXPECT_THROW(static_cast<void>(trainer_of(Symbols::kBytes, "").train({.symbols = 300}, {}, {})), Error);
  EXPECT_THROW(static_cast<void>(trainer_of(Symbols::kBytes, "ab").train({.symbols = 256}, {}, {})), Error);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW(static_cast<void>(trainer_of(Symbols::kBytes, "ab ab").train({.symbols = 300}, stop.get_token(), {})),
               Error);
}

class TrainedTokenizer : public testing::TestWithParam<TokenizerRecipe::Kind> {};
INSTANTIATE_TEST_SUITE_P(Kinds, TrainedTokenizer,
                         testing::Values(TokenizerRecipe::Kind::kByteLevel, TokenizerRecipe::Kind::kSentencePiece),
                         [](const auto& kind) { return kind.index == 0 ? "ByteLevel" : "SentencePiece"; });

TEST_P(TrainedTokenizer, EncodesWhatItLearnedInFewTokensAndLosesNothing) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "One day a little girl found a needle. She said, \"Mom, look!\"\n";
  TokenizerRecipe recipe{.kind = GetParam(), .vocabulary = 400, .special = {"<|im_end|>"}};
  recipe.validate();
  BpeTrainer trainer = recipe.trainer();
  trainer.add(text);
  Metadata metadata = tokenizer_metadata(recipe, trainer.train({.symbols = recipe.symbols()}, {}, {}));
  const Tokenizer tokenizer(read_gguf_tokenizer(metadata));
  for (const std::string& sample :
       {std::string("One day a little girl said"), std::string("zebra \xC3\xA9 \xF0\x9F\x98\x80 42"),
        std::string(" two  spaces\n\nand lines")}) {
    const std::vector<TokenId> ids = tokenizer.encode(sample, {.add_bos = false});
    EXPECT_EQ(tokenizer.decode(ids), sample);
  }
  EXPECT_LE(tokenizer.encode("One day a little girl said", {.add_bos = false}).size(), 8u);
  const std::vector<TokenId> with_bos = tokenizer.encode("One", {});
  EXPECT_EQ(tokenizer.piece(with_bos.front()), "<s>");
  EXPECT_EQ(tokenizer.encode("<|im_end|>", {.add_bos = false}).size(), 1u);
}

TEST(TokenizerRecipe, NamesWhatCannotBe) {
  const auto message = [](const TokenizerRecipe& recipe) -> std::string {
    try {
      recipe.validate();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message({.vocabulary = 200}), testing::HasSubstr("--vocab 200: expected 259"));
  EXPECT_THAT(message({.cuts = "nobody"}), testing::HasSubstr("--pre nobody: expected one of gpt-2"));
  EXPECT_THAT(message({.bos = ""}), testing::HasSubstr("--bos"));
  EXPECT_EQ(message({}), "");
}

}  // namespace
}  // namespace jericho
