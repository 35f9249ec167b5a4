// What each type of node of a tokenizer.json does, on vocabularies of a few pieces. Texts and pieces marked with "HF"
// are examples of the tests of Hugging Face's tokenizers.
#include "text/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/byte_level_bpe.h"
#include "text/detokenizer.h"
#include "text/piece_stages.h"
#include "text/random_text.h"
#include "text/regex_split.h"
#include "text/rewrites.h"
#include "text/test_files.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace jericho {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

// Every byte is a token of its own: decoding shows what became of a text.
json bytes_only() {
  json root = {{"model", {{"type", "BPE"}, {"merges", json::array()}, {"vocab", json::object()}}},
               {"decoder", {{"type", "ByteFallback"}}}};
  for (int byte = 0; byte < 256; ++byte) root["model"]["vocab"][fmt::format("<0x{:02X}>", byte)] = byte;
  root["model"]["byte_fallback"] = true;
  return root;
}

Tokenizer tokenizer_of(const json& root) { return Tokenizer(read_tokenizer_json(root.dump())); }

std::string normalized(const char* node, std::string_view text) {
  json root = bytes_only();
  root["normalizer"] = json::parse(node);
  const Tokenizer tokenizer = tokenizer_of(root);
  return tokenizer.decode(tokenizer.encode(text));
}

// The pieces that a pre_tokenizer makes of a text.
std::vector<std::string> cut(const char* node, const std::string& text, const char* decoder = R"({"type":"Fuse"})") {
  json root = {
      {"model", {{"type", "BPE"}, {"merges", json::array()}, {"vocab", json::object()}, {"ignore_merges", true}}},
      {"decoder", json::parse(decoder)},
      {"pre_tokenizer", json::parse(node)}};
  // All substrings are pieces, so that each piece of the cut is taken whole.
  json& vocab = root["model"]["vocab"];
  const bool byte_level = std::string_view(decoder).find("ByteLevel") != std::string_view::npos;
  for (const std::string& variant :
       {text, replace_all(text, " ", kMetaspace), " " + text, std::string(kMetaspace) + text,
        std::string(kMetaspace) + replace_all(text, " ", kMetaspace)}) {
    for (std::size_t begin = 0; begin < variant.size(); ++begin) {
      for (std::size_t size = 1; begin + size <= variant.size(); ++size) {
        std::string piece = variant.substr(begin, size);
        if (byte_level) piece = to_byte_alphabet(piece);
        if (complete_utf8_prefix(piece) != piece.size() || (static_cast<unsigned char>(piece[0]) & 0xC0) == 0x80)
          continue;
        if (!vocab.contains(piece)) vocab[piece] = vocab.size();
      }
    }
  }
  const Tokenizer tokenizer = tokenizer_of(root);
  std::vector<std::string> pieces;
  for (const TokenId id : tokenizer.encode(text)) pieces.push_back(tokenizer.piece(id));
  return pieces;
}

std::string error_of(const json& root) {
  try {
    read_tokenizer_json(root.dump());
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(TokenizerJsonNormalizer, FormsOfUnicode) {
  EXPECT_EQ(normalized(R"({"type":"NFC"})", "e\u0301\uFB01"), "\u00E9\uFB01");
  EXPECT_EQ(normalized(R"({"type":"NFD"})", "\u00E9\uFB01"), "e\u0301\uFB01");
  EXPECT_EQ(normalized(R"({"type":"NFKC"})", "e\u0301\uFB01"), "\u00E9fi");  // HF
  EXPECT_EQ(normalized(R"({"type":"NFKD"})", "\u00E9\uFB01\u00BD"), "e\u0301fi1\u20442");
}

TEST(TokenizerJsonNormalizer, LowercaseAndAccents) {
  EXPECT_EQ(normalized(R"({"type":"Lowercase"})", "\u00C9\u0130\u03A3A"), "\u00E9i\u0307\u03C3a");
  EXPECT_EQ(normalized(R"({"type":"StripAccents"})", "e\u0304\u0304\u0304o"), "eo");  // HF
  EXPECT_EQ(
      normalized(R"({"type":"Sequence","normalizers":[{"type":"NFKD"},{"type":"StripAccents"},{"type":"Lowercase"}]})",
                 "\u1EADM\u2026"),
      "am...");  // HF
}

TEST(TokenizerJsonNormalizer, StripTakesTheSidesItIsToldTo) {
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":true,"strip_right":true})", " \u2003 a b\n"), "a b");
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":true,"strip_right":false})", "\ta "), "a ");
  EXPECT_EQ(normalized(R"({"type":"Strip","strip_left":false,"strip_right":true})", "\ta "), "\ta");
}

TEST(TokenizerJsonNormalizer, ReplaceTakesTextAndExpressions) {
  EXPECT_EQ(normalized(R"({"type":"Replace","pattern":{"String":"''"},"content":"\""})", "This is a ''test''"),
            "This is a \"test\"");  // HF
  EXPECT_EQ(
      normalized(R"({"type":"Replace","pattern":{"Regex":"\\s+"},"content":" "})", "This     is   a         test"),
      "This is a test");  // HF
  EXPECT_EQ(normalized(R"({"type":"Replace","pattern":{"Regex":"$"},"content":"$1"})", "a\nb"), "a$1\nb$1");
  EXPECT_EQ(normalized(R"({"type":"Replace","pattern":{"Regex":"b*"},"content":"-"})", "abc"), "-a-c-");
}

TEST(TokenizerJsonNormalizer, PrependLeavesEmptyTextEmpty) {
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":">"})", "Hello"), ">Hello");
  EXPECT_EQ(normalized(R"({"type":"Prepend","prepend":">"})", ""), "");
}

TEST(TokenizerJsonNormalizer, NmtDropsControlsAndLevelsSpaces) {
  EXPECT_EQ(normalized(R"({"type":"Nmt"})",
                       "a\x01\x7F\u008F"
                       "b\t\u200B\uFEFFc\u2581"),
            "ab   c ");
}

TEST(TokenizerJsonNormalizer, BertCleansLowersAndSetsIdeographsApart) {
  EXPECT_EQ(normalized(R"({"type":"BertNormalizer"})", "\u00C9t\u00E9\t\u4E2D\x01\u200D!"), "ete  \u4E2D !");
  EXPECT_EQ(
      normalized(R"({"type":"BertNormalizer","clean_text":false,"handle_chinese_chars":false,"strip_accents":false,
                           "lowercase":true})",
                 "\u00C9\t\u4E2D"),
      "\u00E9\t\u4E2D");
  EXPECT_EQ(normalized(R"({"type":"BertNormalizer","strip_accents":null,"lowercase":false})", "\u00C9"), "\u00C9");
}

TEST(TokenizerJsonNormalizer, PrecompiledRunsTheTable) {
  // testdata/charsmap in base64, as the fixture of the whole file has it
  json root = json::parse(read_text(text_fixture("testdata/unigram-json/tokenizer.json")));
  const Tokenizer tokenizer = tokenizer_of(root);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("\uFB01A\tbc")), "fia bc");
}

TEST(TokenizerJsonPreTokenizer, Whitespace) {
  EXPECT_THAT(cut(R"({"type":"Whitespace"})", "Hey man!"), ElementsAre("Hey", "man", "!"));  // HF
  EXPECT_THAT(cut(R"({"type":"Whitespace"})", "a_1 .,\u00BD"), ElementsAre("a_1", ".,\u00BD"));
  EXPECT_THAT(cut(R"({"type":"WhitespaceSplit"})", "Hey, man,  Good?"), ElementsAre("Hey,", "man,", "Good?"));  // HF
}

TEST(TokenizerJsonPreTokenizer, Punctuation) {
  EXPECT_THAT(cut(R"({"type":"Punctuation"})", "Hey friend!     How are you?!?"),
              ElementsAre("Hey friend", "!", "     How are you", "?", "!", "?"));  // HF
  EXPECT_THAT(cut(R"({"type":"Punctuation","behavior":"Contiguous"})", "a+=b"), ElementsAre("a", "+=", "b"));
}

TEST(TokenizerJsonPreTokenizer, Bert) {
  EXPECT_THAT(cut(R"({"type":"BertPreTokenizer"})", "Hey friend!     How are you?!?"),
              ElementsAre("Hey", "friend", "!", "How", "are", "you", "?", "!", "?"));  // HF
}

TEST(TokenizerJsonPreTokenizer, Digits) {
  EXPECT_THAT(cut(R"({"type":"Digits","individual_digits":false})", "Hey 123 friend!"),
              ElementsAre("Hey ", "123", " friend!"));  // HF
  EXPECT_THAT(cut(R"({"type":"Digits","individual_digits":true})", "Hey 123 friend!"),
              ElementsAre("Hey ", "1", "2", "3", " friend!"));  // HF
}

TEST(TokenizerJsonPreTokenizer, SplitBehaviors) {
  const auto split = [](const char* behavior, const char* invert) {
    return cut(fmt::format(R"({{"type":"Split","pattern":{{"Regex":"\\w+|[^\\w\\s]+"}},"behavior":"{}","invert":{}}})",
                           behavior, invert)
                   .c_str(),
               "How are you?");
  };
  EXPECT_THAT(split("Removed", "true"), ElementsAre("How", "are", "you", "?"));              // HF
  EXPECT_THAT(split("Isolated", "false"), ElementsAre("How", " ", "are", " ", "you", "?"));  // HF
  EXPECT_THAT(split("MergedWithPrevious", "true"), ElementsAre("How ", "are ", "you", "?"));
}

TEST(TokenizerJsonPreTokenizer, MetaspaceBehindASplitPrefixesEveryPiece) {
  constexpr const char* kDecoder = R"({"type":"Metaspace","replacement":"▁","add_prefix_space":true})";
  EXPECT_THAT(cut(R"({"type":"Metaspace","replacement":"▁","add_prefix_space":true})", "Hey   friend!", kDecoder),
              ElementsAre(" Hey", " ", " ", " friend!"));  // HF
  EXPECT_THAT(cut(R"({"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},
                      {"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}]})",
                  "a  a", kDecoder),
              ElementsAre(" a", " a"));
}

TEST(TokenizerJsonPreTokenizer, CutsBehindByteLevelSeeItsAlphabet) {
  constexpr const char* kDecoder = R"({"type":"ByteLevel"})";
  // Falcon's chain.
  EXPECT_THAT(cut(R"({"type":"Sequence","pretokenizers":[{"type":"Punctuation","behavior":"Contiguous"},
                      {"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
                      {"type":"Digits","individual_digits":false},
                      {"type":"Split","pattern":{"Regex":"[0-9][0-9][0-9]"},"behavior":"Isolated","invert":false}]})",
                  "a== 12345", kDecoder),
              ElementsAre("a", "==", " ", "123", "45"));
  // The second byte of U+00C5 is spelled U+0127, a letter; its first, U+00C3, too. That of U+00B2 is a digit.
  EXPECT_THAT(
      cut(R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel","add_prefix_space":false,"use_regex":false},
                      {"type":"Digits","individual_digits":true}]})",
          "x\u00B2\u00C5", kDecoder),
      ElementsAre("x\xC2", "\xB2", "\xC3\x85"));
}

TEST(TokenizerJsonPreTokenizer, ByteLevelPrefixesEveryPieceOfACut) {
  EXPECT_THAT(cut(R"({"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},
                      {"type":"ByteLevel","add_prefix_space":true,"use_regex":false}]})",
                  "a a", R"({"type":"ByteLevel"})"),
              ElementsAre(" a", " a"));
}

TEST(PieceStages, ByteAlphabetLosesNoByte) {
  PreTokenizer plain;
  plain.add(make_byte_alphabet_stage(make_scanner_splitter(scan_word_runs)));
  RandomText random(8);
  for (int i = 0; i < 500; ++i) {
    const std::string text = random.bytes(20);
    std::string joined;
    plain.for_each_piece(text, [&](std::string_view piece) { joined += piece; });
    ASSERT_EQ(joined, text);
  }
}

TEST(TokenizerJsonPostProcessor, ClsAndSepSurroundTheText) {
  for (const char* type : {"BertProcessing", "RobertaProcessing"}) {
    json root = bytes_only();
    root["post_processor"] = {{"type", type}, {"sep", {"[SEP]", 7}}, {"cls", {"[CLS]", 8}}};
    EXPECT_THAT(tokenizer_of(root).encode("a"), ElementsAre(8, 'a', 7));
    root["post_processor"]["cls"] = {"[CLS]", 1000};
    EXPECT_THAT(error_of(root), HasSubstr("1000"));
    root["post_processor"]["cls"] = "[CLS]";
    EXPECT_THAT(error_of(root), HasSubstr("\"cls\""));
  }
}

TEST(TokenizerJsonPostProcessor, LaterProcessorsWrapEarlierOnes) {
  json root = bytes_only();
  root["post_processor"] = {{"type", "Sequence"},
                            {"processors",
                             {{{"type", "BertProcessing"}, {"sep", {"s", 7}}, {"cls", {"c", 8}}},
                              {{"type", "ByteLevel"}},
                              {{"type", "BertProcessing"}, {"sep", {"t", 5}}, {"cls", {"d", 6}}}}}};
  EXPECT_THAT(tokenizer_of(root).encode("a"), ElementsAre(6, 8, 'a', 7, 5));
}

json word_piece() {
  json vocab = json::object();
  for (const char* piece : {"[UNK]", "un", "##aff", "##able", "##a", "!", "able", "a", "##b", "n't"})
    vocab[piece] = vocab.size();
  return {
      {"normalizer", {{"type", "BertNormalizer"}}},
      {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
      {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
      {"model", {{"type", "WordPiece"}, {"unk_token", "[UNK]"}, {"vocab", vocab}, {"max_input_chars_per_word", 10}}}};
}

TEST(TokenizerJsonModel, WordPieceTakesTheLongestAndGivesUpWholeWords) {
  const Tokenizer tokenizer = tokenizer_of(word_piece());
  EXPECT_THAT(tokenizer.encode("Unaffable!"), ElementsAre(1, 2, 3, 5));
  EXPECT_THAT(tokenizer.encode("unaffx able ab"), ElementsAre(0, 6, 7, 8));
  EXPECT_THAT(tokenizer.encode(std::string(9, 'a') + " " + std::string(11, 'a')),
              ElementsAre(7, 4, 4, 4, 4, 4, 4, 4, 4, 0));  // 11 characters are too many
}

TEST(TokenizerJsonModel, WordPieceDecodesWithSpacesBetweenWords) {
  const Tokenizer tokenizer = tokenizer_of(word_piece());
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{1, 2, 3, 6, 5}), "unaffable able!");
  json root = word_piece();
  root["decoder"]["cleanup"] = false;
  EXPECT_EQ(tokenizer_of(root).decode(std::vector<TokenId>{1, 2, 3, 6, 5}), "unaffable able !");
}

TEST(TokenizerJsonModel, UnigramOfTheDocumentation) {
  const json root = json::parse(R"({"decoder":{"type":"Fuse"},"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],
      ["a",0],["b",0.0],["c",0],["d",0],["cd",1],["ab",2],["abc",5],["abcd",10.0]]}})");
  EXPECT_THAT(tokenizer_of(root).encode("abcdacdxx"), ElementsAre(8, 1, 5, 0));  // HF
  json wrong = root;
  wrong["model"]["vocab"][1] = json::array({"a", "b"});
  EXPECT_THAT(error_of(wrong), HasSubstr("not a piece and its score"));
  wrong = root;
  wrong["model"]["unk_id"] = 9;
  EXPECT_THAT(error_of(wrong), HasSubstr("unk_id"));
  wrong = root;
  wrong["model"]["type"] = "BPE";
  EXPECT_THAT(error_of(wrong), HasSubstr("not an object"));
}

// T5's normalizer, pre-tokenizer and decoder.
TEST(TokenizerJsonModel, UnigramInTheMannerOfT5) {
  const json root = {
      {"normalizer",
       {{"type", "Sequence"},
        {"normalizers",
         {{{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}},
          {{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", "▁"}}}}}},
      {"pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}}},
      {"decoder", {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}}},
      {"model", json::parse(R"({"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["▁a",-1],["▁",-2],["b",-3]]})")}};
  const Tokenizer tokenizer = tokenizer_of(root);
  EXPECT_THAT(tokenizer.encode("a    b a  "), ElementsAre(1, 2, 3, 1));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a    b a  ")), "a b a");
}

json word_ends() {
  json vocab = json::object();
  for (const char* piece : {"a", "b", "a</w>", "b</w>", "ab</w>", "<unk>"}) vocab[piece] = vocab.size();
  return {{"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
          {"decoder", {{"type", "BPEDecoder"}, {"suffix", "</w>"}}},
          {"model",
           {{"type", "BPE"},
            {"end_of_word_suffix", "</w>"},
            {"unk_token", "<unk>"},
            {"vocab", vocab},
            {"merges", {"a b</w>"}}}}};
}

TEST(TokenizerJsonModel, WordsMayEndInASuffix) {
  const Tokenizer tokenizer = tokenizer_of(word_ends());
  EXPECT_THAT(tokenizer.encode("ab ba  aab x"), ElementsAre(4, 1, 2, 0, 4, 5));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("ab  ba ")), "ab ba");
  Detokenizer stream(tokenizer);
  EXPECT_EQ(stream.push(4), "ab");  // the space waits for a word behind it
  EXPECT_EQ(stream.push(1), " b");
  EXPECT_EQ(stream.push(2), "a");
  EXPECT_EQ(stream.finish(), "");
  json root = word_ends();
  root["decoder"] = {{"type", "Fuse"}};
  EXPECT_THAT(error_of(root), HasSubstr("'</w>'"));
}

TEST(TokenizerJsonDecoder, TokensAreChangedOneByOne) {
  json root = bytes_only();
  root["decoder"] = {{"type", "Sequence"},
                     {"decoders",
                      {{{"type", "ByteFallback"}},
                       {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "xyz"}},
                       {{"type", "Replace"}, {"pattern", {{"Regex", "[yz]+"}}}, {"content", "-"}},
                       {{"type", "Strip"}, {"content", "."}, {"start", 1}, {"stop", 0}},
                       {{"type", "Fuse"}}}}};
  const Tokenizer tokenizer = tokenizer_of(root);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("b.ab")), "bx-b");
}

TEST(TokenizerJson, WhatIsNotKnownIsNamed) {
  const auto complaint = [](const char* section, const char* node) {
    json root = bytes_only();
    root[section] = json::parse(node);
    return error_of(root);
  };
  EXPECT_THAT(complaint("normalizer", R"({"type":"ByteLevel"})"), HasSubstr("normalizer ByteLevel"));
  EXPECT_THAT(complaint("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"%"})"), HasSubstr("base64"));
  EXPECT_THAT(complaint("normalizer", R"({"type":"Replace","pattern":{"Regex":"("},"content":""})"), HasSubstr("'('"));
  EXPECT_THAT(complaint("normalizer", R"({"type":"Sequence","normalizers":[
                  {"type":"Replace","pattern":{"String":" "},"content":"▁"},{"type":"Nmt"}]})"),
              HasSubstr("Nmt behind"));
  EXPECT_THAT(complaint("pre_tokenizer", R"({"type":"UnicodeScripts"})"), HasSubstr("UnicodeScripts"));
  EXPECT_THAT(complaint("pre_tokenizer", R"({"type":"Punctuation","behavior":"Mixed"})"), HasSubstr("'Mixed'"));
  EXPECT_THAT(complaint("post_processor", R"({"type":"Other"})"), HasSubstr("Other"));
  EXPECT_THAT(complaint("decoder", R"({"type":"CTC"})"), HasSubstr("CTC"));
  EXPECT_THAT(complaint("decoder", R"({"type":"Sequence","decoders":[{"type":"Fuse"},
                  {"type":"Replace","pattern":{"String":"a"},"content":"b"}]})"),
              HasSubstr("several tokens"));
  EXPECT_THAT(complaint("decoder", R"({"type":"WordPiece"})"), HasSubstr("BPE model"));
  EXPECT_THAT(complaint("model", R"({"type":"WordLevel","vocab":{}})"), HasSubstr("WordLevel"));
  EXPECT_EQ(complaint("normalizer", "null"), "no error");
}

// Pushing token by token gives the text of decode(), whatever the decoder.
TEST(TokenizerJson, StreamsEqualDecode) {
  json strip = bytes_only();
  strip["decoder"] = {
      {"type", "Sequence"},
      {"decoders", {{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 1}}, {{"type", "Fuse"}}}}};
  RandomText random(4);
  for (const json& root : {word_piece(), word_ends(), strip}) {
    const Tokenizer tokenizer = tokenizer_of(root);
    for (int i = 0; i < 300; ++i) {
      std::vector<TokenId> ids;
      for (int n = random.uniform(8); n > 0; --n) ids.push_back(random.uniform(static_cast<int>(tokenizer.size())));
      Detokenizer stream(tokenizer);
      std::string text;
      for (const TokenId id : ids) text += stream.push(id);
      ASSERT_EQ(text + stream.finish(), tokenizer.decode(ids));
    }
  }
}

}  // namespace
}  // namespace jericho
