// Keys: bytes in any pieces become the same keys, and no bytes get the decoder stuck.
#include "cli/keys.h"

#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/unicode.h"

namespace jericho::cli {

bool operator==(const Key& a, const Key& b) { return a.kind == b.kind && a.text == b.text; }

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<Key> all_keys(KeyDecoder& decoder) {
  std::vector<Key> keys;
  while (const auto key = decoder.next()) keys.push_back(*key);
  return keys;
}

std::vector<Key> keys_of(std::string_view bytes) {
  KeyDecoder decoder;
  decoder.push(bytes);
  return all_keys(decoder);
}

Key text(std::string value) { return {KeyKind::kText, std::move(value)}; }
Key key(KeyKind kind) { return {kind, {}}; }

TEST(Keys, AreTextUpToTheNextControl) {
  EXPECT_THAT(keys_of("h\xC3\xA9!\r"), ElementsAre(text("h\xC3\xA9!"), key(KeyKind::kEnter)));
}

TEST(Keys, KnowTheNamesOfTheShell) {
  EXPECT_THAT(keys_of("\x01\x05\x0b\x15\x17\x7f\x04\x03\n"),
              ElementsAre(key(KeyKind::kHome), key(KeyKind::kEnd), key(KeyKind::kKillToEnd), key(KeyKind::kKillToStart),
                          key(KeyKind::kKillWord), key(KeyKind::kBackspace), key(KeyKind::kEndOfInput),
                          key(KeyKind::kInterrupt), key(KeyKind::kEnter)));
}

TEST(Keys, KnowCursorKeysInBothModes) {
  EXPECT_THAT(keys_of("\x1b[A\x1bOB\x1b[3~\x1b[1;5D\x1b[H\x1bOF"),
              ElementsAre(key(KeyKind::kUp), key(KeyKind::kDown), key(KeyKind::kDelete), key(KeyKind::kWordLeft),
                          key(KeyKind::kHome), key(KeyKind::kEnd)));
}

TEST(Keys, AreNewLinesWithAltEnter) { EXPECT_THAT(keys_of("\x1b\r"), ElementsAre(key(KeyKind::kNewLine))); }

TEST(Keys, SkipUnknownSequencesWhole) {
  EXPECT_THAT(keys_of("\x1b[15~a\x1b[1;2Pb\x1bx\x1bOPc\x1c"), ElementsAre(text("a"), text("b"), text("c")));
}

TEST(Keys, WaitForTheRestOfACharacter) {
  KeyDecoder decoder;
  decoder.push("\xF0\x9F");
  EXPECT_THAT(all_keys(decoder), IsEmpty());
  decoder.push("\xA6\x99");
  EXPECT_THAT(all_keys(decoder), ElementsAre(text("\xF0\x9F\xA6\x99")));
}

TEST(Keys, ReplaceWhatIsNoUtf8) {
  EXPECT_THAT(keys_of("a\xFF\r"), ElementsAre(text("a\xEF\xBF\xBD"), key(KeyKind::kEnter)));
}

TEST(Keys, OfAPasteAreOneTextWithItsLines) {
  EXPECT_THAT(keys_of("\x1b[200~one\rtwo\r\nthree\x03\x1b[A\x1b[201~\r"),
              ElementsAre(text("one\ntwo\nthree\x03\x1b[A"), key(KeyKind::kEnter)));
}

TEST(Keys, AreTheSameInAnyPieces) {
  const std::string bytes = "a\xC3\xA9\x1b[1;5C\x1b[200~x\r\ny\x1b[201~\x1bOA\x1b[3~\xF0\x9F\xA6\x99\r";
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    KeyDecoder decoder;
    std::vector<Key> keys;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t size = 1 + random() % 4;
      decoder.push(std::string_view(bytes).substr(at, size));
      for (const Key& each : all_keys(decoder)) {
        const bool joins = each.kind == KeyKind::kText && !keys.empty() && keys.back().kind == KeyKind::kText;
        joins ? void(keys.back().text += each.text) : keys.push_back(each);
      }
      at += size;
    }
    ASSERT_THAT(keys, ElementsAre(text("a\xC3\xA9"), key(KeyKind::kWordRight), text("x\ny"), key(KeyKind::kUp),
                                  key(KeyKind::kDelete), text("\xF0\x9F\xA6\x99"), key(KeyKind::kEnter)));
  }
}

TEST(Keys, TakeALoneEscapeForTheEscapeKeyWhenNothingFollows) {
  KeyDecoder decoder;
  decoder.push("\x1b");
  EXPECT_THAT(all_keys(decoder), IsEmpty());
  decoder.settle();
  decoder.push("b");
  EXPECT_THAT(all_keys(decoder), ElementsAre(text("b")));
}

TEST(Keys, TellCtrlCFromAPastedOne) {
  KeyDecoder decoder;
  decoder.push("early\x1b[200~\x03\x1b[201~");
  EXPECT_FALSE(decoder.take_interrupt());
  decoder.push("\x03late");
  EXPECT_TRUE(decoder.take_interrupt());
  EXPECT_FALSE(decoder.take_interrupt());
  EXPECT_THAT(all_keys(decoder), ElementsAre(text("late")));
}

TEST(Keys, OfAnyBytesAreUtf8AndEnd) {
  std::mt19937 random(2);
  for (int round = 0; round < 2000; ++round) {
    KeyDecoder decoder;
    std::string bytes;
    for (int i = 0; i < 40; ++i) bytes += "\x1b[O;~1200A\x03\r\xC3\xA9\xFF\xF0z"[random() % 18];
    decoder.push(bytes);
    for (const Key& each : all_keys(decoder)) {
      std::string again;
      append_as_utf8(each.text, again);
      ASSERT_EQ(again, each.text);
    }
    decoder.push("\x1b[201~\x1b[201~\r\r");
    ASSERT_FALSE(all_keys(decoder).empty());
  }
}

}  // namespace
}  // namespace jericho::cli
