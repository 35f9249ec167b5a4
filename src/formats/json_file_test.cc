// The limits of the JSON reader, what it forgives, and the configs of known models.
#include "formats/json_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "base/test_data.h"
#include "formats/test_files.h"

namespace jericho {
namespace {

using testing::HasSubstr;

std::string error_for(const std::string& text) {
  return error_of([&] { return parse_json(text, "config.json").size(); });
}

TEST(JsonFile, NamesFileAndByte) {
  EXPECT_THAT(error_for("{\"a\": 1,}"),
              testing::StartsWith("input: config.json: not valid JSON at byte 9: parse error"));
}

TEST(JsonFile, TakesTheLastOfTwinKeys) { EXPECT_EQ(parse_json(R"({"a":1,"a":2})", "x")["a"], 2); }

TEST(JsonFile, LimitsNesting) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(error_for(nested(64)), "");
  EXPECT_EQ(error_for(nested(65)), "input: config.json: nested deeper than 64 levels at byte 64");
  EXPECT_THAT(error_for(std::string(1 << 20, '[')), HasSubstr("nested deeper"));
  EXPECT_EQ(error_for("\"" + std::string(1000, '[') + "\\\"[[\""), "");  // brackets in texts do not count
}

TEST(JsonFile, LimitsSize) {
  EXPECT_THAT(error_of([] { return parse_json("[1,2,3]", "x", 4_B).size(); }),
              HasSubstr("has 7 B, expected at most 4"));
}

TEST(JsonFile, ReadsPythonsInfinity) {
  const auto json = parse_json(R"({"limit":[0.0,Infinity,-Infinity],"name":"Infinity"})", "x");
  EXPECT_EQ(json["limit"][1], 1.79e308);
  EXPECT_EQ(json["limit"][2], -1.79e308);
  EXPECT_EQ(json["name"], "Infinity");
}

TEST(JsonFile, RefusesNumbersBeyondDouble) {
  EXPECT_THAT(error_for("[1e400]"), HasSubstr("config.json: not valid JSON"));
}

TEST(JsonFile, ParsesConfigsOfKnownModels) {
  JERICHO_NEEDS_DATA("configs");
  int parsed = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(test_data("configs"))) {
    if (entry.path().extension() != ".json") continue;
    EXPECT_TRUE(read_json_file(entry.path()).is_object()) << entry.path();
    ++parsed;
  }
  EXPECT_GT(parsed, 30);
}

}  // namespace
}  // namespace jericho
