// Files and texts that are wrong on purpose: the fuzzers' corpora, every truncation of a good file, and random flips.
#include <gtest/gtest.h>

#include "text/fuzz_bodies.h"
#include "text/load_tokenizer.h"
#include "text/random_text.h"
#include "text/test_files.h"

namespace jericho {
namespace {

template <class Body>
void replay(const std::string& fuzzer, const Body& body) {
  int inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(text_fixture("corpus/" + fuzzer))) {
    body(entry.path().filename().string(), read_text(entry.path()));
    ++inputs;
  }
  EXPECT_GT(inputs, 5);
}

TEST(HostileTokenizers, CorpusOfTokenizerJsonIsJudgedByName) {
  replay("tokenizer_json_fuzz", [](const std::string& name, const std::string& text) {
    if (name.starts_with("good")) {
      EXPECT_NO_THROW(read_tokenizer_json(text)) << name;
    } else {
      EXPECT_THROW(read_tokenizer_json(text), Error) << name;
    }
    fuzz::tokenizer_json(text);
  });
}

TEST(HostileTokenizers, CorpusOfSentencePieceModelsIsJudgedByName) {
  replay("sentencepiece_model_fuzz", [](const std::string& name, const std::string& bytes) {
    if (name.starts_with("good")) {
      EXPECT_NO_THROW(read_sentencepiece_model(bytes, SpacePrefix::kAtStart)) << name;
    } else {
      EXPECT_THROW(read_sentencepiece_model(bytes, SpacePrefix::kAtStart), Error) << name;
    }
    fuzz::sentencepiece_model(bytes);
  });
}

TEST(HostileTokenizers, CorpusOfTextsIsEncoded) {
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  for (const char* name : {"byte-level", "metaspace", "sentencepiece", "unigram", "unigram-json", "vocab-merges",
                           "tiktoken", "word-piece", "word-ends"}) {
    tokenizers.push_back(load_tokenizer_directory(text_fixture(std::string("testdata/") + name)));
  }
  replay("tokenizer_encode_fuzz", [&](const std::string&, const std::string& text) { fuzz::encode(tokenizers, text); });
  RandomText random(7);
  for (int i = 0; i < 2000; ++i) fuzz::encode(tokenizers, i % 2 == 0 ? random.unicode(40) : random.bytes(40));
}

TEST(HostileTokenizers, TruncatedFilesAreRefusedOrWork) {
  const std::string json = read_text(text_fixture("corpus/tokenizer_json_fuzz/good_small"));
  for (std::size_t size = 0; size < json.size(); ++size) EXPECT_THROW(read_tokenizer_json(json.substr(0, size)), Error);
  for (const char* name : {"good_full", "good_charsmap"}) {
    const std::string model = read_text(text_fixture(std::string("corpus/sentencepiece_model_fuzz/") + name));
    for (std::size_t size = 0; size < model.size(); ++size) fuzz::sentencepiece_model(model.substr(0, size));
  }
}

TEST(HostileTokenizers, FlippedBytesAreRefusedOrWork) {
  const std::string json = read_text(text_fixture("corpus/tokenizer_json_fuzz/good_byte_level"));
  const std::string model = read_text(text_fixture("corpus/sentencepiece_model_fuzz/good_full"));
  const std::string unigram = read_text(text_fixture("corpus/sentencepiece_model_fuzz/good_charsmap"));
  const std::string other_json = read_text(text_fixture("corpus/tokenizer_json_fuzz/good_unigram"));
  RandomText random(11);
  for (int i = 0; i < 1000; ++i) {
    std::string flipped = i % 4 == 0 ? json : i % 4 == 2 ? other_json : i % 4 == 1 ? model : unigram;
    for (int flips = random.uniform(4); flips >= 0; --flips) {
      flipped[static_cast<std::size_t>(random.uniform(static_cast<int>(flipped.size())))] =
          static_cast<char>(random.uniform(256));
    }
    i % 2 == 0 ? fuzz::tokenizer_json(flipped) : fuzz::sentencepiece_model(flipped);
  }
}

TEST(HostileTokenizers, LongRunsTakeNoLongTime) {
  for (const char* name : {"byte-level", "metaspace", "sentencepiece", "unigram", "unigram-json", "vocab-merges",
                           "tiktoken", "word-piece", "word-ends"}) {
    const auto tokenizer = load_tokenizer_directory(text_fixture(std::string("testdata/") + name));
    for (const char* unit : {"a", " ", "\n", "l", "\xFF", "<|", "7", " a", "<|end|> "}) {
      std::string text = "a";  // white space alone may leave nothing
      while (text.size() < 300000) text += unit;
      EXPECT_FALSE(tokenizer->encode(text).empty()) << name;
    }
  }
}

}  // namespace
}  // namespace jericho
