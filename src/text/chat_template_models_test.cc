// Templates of real models: all of them render, and their texts are those of testdata/chat, which were written by hand
// from reading the templates.
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/test_data.h"
#include "formats/json_file.h"
#include "formats/model_file.h"
#include "text/chat_template.h"
#include "text/test_files.h"

namespace jericho {
namespace {

using Templates = std::map<std::string, std::string>;

Templates all_templates() {
  const auto root = test_data("tokenizers");
  Templates templates = read_json_file(root / "chat_templates.json").get<Templates>();
  for (const auto& folder : std::filesystem::directory_iterator(root)) {
    const auto file = folder.path() / "tokenizer_config.json";
    if (!std::filesystem::exists(file)) continue;
    const auto config = read_json_file(file);
    if (config.contains("chat_template")) templates[folder.path().filename().string()] = config["chat_template"];
  }
  return templates;
}

ChatInput input_of(std::vector<ChatMessage> messages) {
  ChatInput input;
  input.messages = std::move(messages);
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  input.now.tm_year = 125;
  input.now.tm_mon = 2;
  input.now.tm_mday = 7;
  return input;
}

ChatInput talk() {
  return input_of({{"system", "Be brief.", ""}, {"user", "Hi", ""}, {"assistant", "Hello.", ""}, {"user", "Bye", ""}});
}

ChatInput talk_with_tools() {
  const char* call = R"({"tool_calls": [{"id": "abcdefghi", "type": "function",
                         "function": {"name": "now", "arguments": {"zone": "CET"}}}]})";
  ChatInput input =
      input_of({{"user", "Time?", ""}, {"assistant", "", call}, {"tool", "9:00", R"({"tool_call_id": "abcdefghi"})"}});
  input.tools = R"([{"type": "function", "function": {"name": "now", "description": "The time",
                     "parameters": {"type": "object", "properties": {}}}}])";
  return input;
}

TEST(ChatTemplateOfModels, RendersTheTextsWrittenByHand) {
  JERICHO_NEEDS_DATA("tokenizers/chat_templates.json");
  const Templates templates = all_templates();
  int texts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(text_fixture("testdata/chat"))) {
    std::string name = entry.path().stem().string();
    const bool tools = name.ends_with(".tools");
    if (tools) name.resize(name.size() - 6);
    ASSERT_TRUE(templates.contains(name)) << name;
    const auto chat_template = ChatTemplate::parse(templates.at(name));
    EXPECT_EQ(chat_template.render(tools ? talk_with_tools() : talk()), read_text(entry.path())) << entry.path();
    ++texts;
  }
  EXPECT_GE(texts, 15);
}

// With and without system, tools and generation prompt. A template may refuse, in its own words, what it has no form
// for: Gemma 2 a system message.
TEST(ChatTemplateOfModels, RendersEveryTemplate) {
  JERICHO_NEEDS_DATA("tokenizers/chat_templates.json");
  const Templates templates = all_templates();
  EXPECT_GE(templates.size(), 17u);
  for (const auto& [name, source] : templates) {
    const auto chat_template = ChatTemplate::parse(source);
    for (const bool prompt : {false, true}) {
      ChatInput input = talk();
      input.add_generation_prompt = prompt;
      if (name.starts_with("NousResearch-Hermes-3")) input.tools = "[]";  // it walks them unasked
      if (name == "google-gemma-2-2b-it") input.messages.erase(input.messages.begin());
      EXPECT_NE(chat_template.render(input).find("Hello."), std::string::npos) << name;
      input.tools = talk_with_tools().tools;
      const std::string with_tools = chat_template.render(input);
      EXPECT_NE(with_tools.find("Bye"), std::string::npos) << name;
      const bool knows_tools = source.find(" in tools") != std::string::npos;
      EXPECT_TRUE(!knows_tools || with_tools.find("now") != std::string::npos) << name;
    }
  }
}

TEST(ChatTemplateOfModels, Gemma2RefusesASystemMessageInItsOwnWords) {
  JERICHO_NEEDS_DATA("tokenizers/chat_templates.json");
  try {
    (void)ChatTemplate::parse(all_templates().at("google-gemma-2-2b-it")).render(talk());
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "System role not supported");
  }
}

TEST(ChatTemplateSource, GgufHasItInItsMetadata) {
  ModelFile::Contents contents;
  contents.metadata.set("tokenizer.chat_template", std::string("plain"));
  contents.metadata.set("tokenizer.chat_template.tool_use", std::string("tools"));
  const ModelFile file(std::move(contents), nullptr);
  EXPECT_EQ(find_chat_template(file), "plain");
  EXPECT_EQ(find_chat_template(file, "tool_use"), "tools");
  EXPECT_EQ(find_chat_template(ModelFile({}, nullptr)), std::nullopt);
}

TEST(ChatTemplateSource, DirectoryHasItInOneOfThreeFiles) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "chat_template_source";
  std::filesystem::create_directories(folder);
  const auto write = [&](const char* name, const char* text) { std::ofstream(folder / name) << text; };
  const ModelFile file({.format = ModelFormat::kHuggingFace, .path = folder}, nlohmann::json::object());
  EXPECT_EQ(find_chat_template(file), std::nullopt);
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]})");
  EXPECT_EQ(find_chat_template(file), "a");
  EXPECT_EQ(find_chat_template(file, "tool_use"), "b");
  write("chat_template.json", R"({"chat_template": "c"})");
  EXPECT_EQ(find_chat_template(file), "c");
  write("chat_template.jinja", "d");
  EXPECT_EQ(find_chat_template(file), "d");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace jericho
