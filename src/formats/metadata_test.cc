// What each typed look-up accepts, converts and refuses.
#include "formats/metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "formats/test_files.h"

namespace jericho {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Metadata, GivesIntegersOfBothSigns) {
  Metadata metadata;
  metadata.set("u", std::uint64_t{7});
  metadata.set("i", std::int64_t{-7});
  EXPECT_EQ(metadata.integer("u"), 7);
  EXPECT_EQ(metadata.require_integer("i"), -7);
  EXPECT_EQ(metadata.number("i"), -7.0);
}

TEST(Metadata, GivesNothingForAbsentKeys) {
  const Metadata metadata;
  EXPECT_FALSE(metadata.has("k"));
  EXPECT_EQ(metadata.integer("k"), std::nullopt);
  EXPECT_EQ(metadata.number("k"), std::nullopt);
  EXPECT_EQ(metadata.boolean("k"), std::nullopt);
  EXPECT_EQ(metadata.text("k"), nullptr);
  EXPECT_EQ(metadata.integers("k"), std::nullopt);
  EXPECT_EQ(metadata.numbers("k"), std::nullopt);
  EXPECT_EQ(metadata.texts("k"), nullptr);
}

TEST(Metadata, NamesKeyExpectedAndFoundWhenTheTypeIsAnother) {
  Metadata metadata;
  metadata.set("llama.block_count", std::string("two"));
  EXPECT_EQ(error_of([&] { return metadata.integer("llama.block_count"); }),
            "input: key 'llama.block_count' holds a text, expected an integer");
}

TEST(Metadata, NamesTheMissingKey) {
  const Metadata metadata;
  EXPECT_EQ(error_of([&] { return metadata.require_text("general.architecture").size(); }),
            "input: key 'general.architecture' is missing, expected a text");
}

TEST(Metadata, RefusesAnIntegerBeyondIndex) {
  Metadata metadata;
  metadata.set("k", std::uint64_t{1} << 63);
  metadata.set("a", std::vector<std::uint64_t>{1, ~std::uint64_t{0}});
  EXPECT_THAT(error_of([&] { return metadata.integer("k"); }), HasSubstr("9223372036854775808"));
  EXPECT_THAT(error_of([&] { return metadata.integers("a"); }), HasSubstr("18446744073709551615"));
}

TEST(Metadata, DoesNotTakeAFloatForAnInteger) {
  Metadata metadata;
  metadata.set("k", 2.0);
  EXPECT_THAT(error_of([&] { return metadata.integer("k"); }), HasSubstr("holds a float"));
}

TEST(Metadata, GivesArraysOfAnyIntegerOrBool) {
  Metadata metadata;
  metadata.set("u", std::vector<std::uint64_t>{1, 2});
  metadata.set("i", std::vector<std::int64_t>{-1, 2});
  metadata.set("b", std::vector<bool>{true, false});
  EXPECT_THAT(metadata.require_integers("u"), ElementsAre(1, 2));
  EXPECT_THAT(metadata.require_integers("i"), ElementsAre(-1, 2));
  EXPECT_THAT(metadata.require_integers("b"), ElementsAre(1, 0));
  EXPECT_THAT(metadata.require_numbers("i"), ElementsAre(-1.0, 2.0));
  EXPECT_THAT(error_of([&] { return metadata.numbers("b"); }), HasSubstr("holds an array of bools"));
}

TEST(Metadata, TellsArraysFromSingleValues) {
  Metadata metadata;
  metadata.set("one", std::string("x"));
  metadata.set("many", std::vector<std::string>{"x"});
  EXPECT_FALSE(metadata.is_array("one"));
  EXPECT_TRUE(metadata.is_array("many"));
  EXPECT_FALSE(metadata.is_array("absent"));
}

TEST(Metadata, ForgetsErasedKeys) {
  Metadata metadata;
  metadata.set("tokens", std::vector<std::string>{"a"});
  metadata.erase("tokens");
  metadata.erase("tokens");
  EXPECT_TRUE(metadata.entries().empty());
}

TEST(Metadata, EscapesNamesInMessages) {
  const Metadata metadata;
  const std::string message =
      error_of([&] { return metadata.require_boolean("a\x1b[31m\xff" + std::string(200, 'x')); });
  EXPECT_THAT(message, HasSubstr("'a\\x1b[31m\\xffxxx"));
  EXPECT_LT(message.size(), 160u);
}

}  // namespace
}  // namespace jericho
