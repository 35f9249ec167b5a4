// Conversations as tokens and as JSON, and what a sequence keeps of them.
#include "cli/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/check.h"
#include "base/error.h"
#include "cli/kept_sequence.h"
#include "cli/printer.h"
#include "models/test_models.h"
#include "text/load_tokenizer.h"
#include "text/test_files.h"

namespace jericho::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kForm =
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}";

class ConversationTest : public testing::Test {
 protected:
  [[nodiscard]] std::string text(const std::vector<TokenId>& ids) const {
    std::string joined;
    for (const TokenId id : ids) joined += tokenizer_->piece(id);
    return joined;
  }
  template <class Body>
  static std::string refusal(Body body) {
    try {
      body();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      return error.what();
    }
    return "";
  }

  std::unique_ptr<Tokenizer> tokenizer_ = load_tokenizer_directory(text_fixture("testdata/byte-level"));
  ChatTemplate form_ = ChatTemplate::parse(kForm);
  Conversation talk_{form_, *tokenizer_};
  std::tm now_{};
};

TEST_F(ConversationTest, IsRenderedWithItsSystemMessageAndTurns) {
  talk_.set_system("brief");
  talk_.add_turn("hi", "ho");
  EXPECT_EQ(text(talk_.prompt("bye", now_)), "<|begin|>s:brief<|end|>u:hi<|end|>a:ho<|end|>u:bye<|end|>a:");
  EXPECT_EQ(talk_.messages().size(), 3u);  // a prompt adds nothing
}

TEST_F(ConversationTest, HasSpecialTokensWhereTheTemplateNamesThem) {
  const TokenId end = tokenizer_->find("<|end|>").value();
  EXPECT_THAT(talk_.prompt("hi", now_), testing::Contains(end));
}

TEST_F(ConversationTest, BeginsOnceWhenTheTemplateWritesTheBeginItself) {
  const ChatTemplate form = ChatTemplate::parse("{{ bos_token }}{{ messages[-1].content }}");
  const Conversation talk(form, *tokenizer_);
  EXPECT_EQ(text(talk.prompt("hi", now_)), "<|begin|>hi");
}

TEST_F(ConversationTest, ForgetsAllButTheSystemMessage) {
  talk_.set_system("brief");
  talk_.add_turn("hi", "ho");
  talk_.restart();
  EXPECT_EQ(text(talk_.prompt("x", now_)), "<|begin|>s:brief<|end|>u:x<|end|>a:");
  talk_.set_system("");
  talk_.restart();
  EXPECT_EQ(text(talk_.prompt("x", now_)), "<|begin|>u:x<|end|>a:");
}

TEST_F(ConversationTest, TellsWhatTheTemplateRefuses) {
  const ChatTemplate form = ChatTemplate::parse(
      "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}x");
  Conversation talk(form, *tokenizer_);
  talk.set_system("brief");
  EXPECT_THAT(refusal([&] { return talk.prompt("hi", now_); }), HasSubstr("System role not supported"));
  EXPECT_EQ(talk.messages().size(), 1u);
}

TEST_F(ConversationTest, RefusesAnEmptyPrompt) {
  const ChatTemplate form = ChatTemplate::parse("{% if false %}x{% endif %}");
  const auto plain = load_tokenizer_directory(text_fixture("testdata/metaspace"));
  const Conversation talk(form, *plain);
  if (plain->adds_bos()) GTEST_SKIP() << "the tokenizer adds a token of its own";
  EXPECT_THAT(refusal([&] { return talk.prompt("hi", now_); }), HasSubstr("empty"));
}

TEST_F(ConversationTest, IsTheSameAfterSavingAndLoading) {
  const char* saved = R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "ü\n"},
    {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]},
    {"role": "tool", "content": [{"type": "text", "text": "9:00"}], "tool_call_id": "1"}]})";
  talk_.from_json(saved, "f");
  ASSERT_EQ(talk_.messages().size(), 4u);
  EXPECT_EQ(talk_.messages()[1].content, "ü\n");
  const std::string first = talk_.to_json();
  EXPECT_THAT(first, AllOf(HasSubstr("tool_calls"), HasSubstr("tool_call_id"), HasSubstr("null"), HasSubstr("ü\\n")));
  talk_.from_json(first, "f");
  EXPECT_EQ(talk_.to_json(), first);
}

TEST_F(ConversationTest, LoadsABareList) {
  talk_.from_json(R"([{"role": "user", "content": "a"}])", "f");
  EXPECT_EQ(talk_.messages().size(), 1u);
}

TEST_F(ConversationTest, RefusesBadFilesByNameAndMessageAndKeepsWhatItHas) {
  talk_.add_turn("hi", "ho");
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"", "not valid JSON"},
      {"{", "not valid JSON"},
      {"3", "list of messages"},
      {R"({"messages": 3})", "list of messages"},
      {R"([3])", "message 1"},
      {R"([{"role": "user", "content": "a"}, {"content": "b"}])", "message 2: expected \"role\""},
      {R"([{"role": 3, "content": "b"}])", "\"role\""},
      {R"([{"role": "user"}])", "\"content\""},
      {R"([{"role": "user", "content": 3}])", "\"content\""}};
  for (const auto& each : cases) {
    EXPECT_THAT(refusal([&] { talk_.from_json(each.first, "talk.json"); }),
                AllOf(HasSubstr("talk.json"), HasSubstr(each.second)))
        << each.first;
  }
  EXPECT_EQ(talk_.messages().size(), 2u);
}

TEST_F(ConversationTest, SavesWhatIsNoUtf8) {
  talk_.add_turn("a\xFF", "b");
  EXPECT_THAT(talk_.to_json(), HasSubstr("a\xEF\xBF\xBD"));
}

TEST(KeptTokens, AreAllOrNone) {
  const std::vector<TokenId> wanted = {1, 2, 3, 4};
  const auto kept = [&](const std::vector<TokenId>& held) { return kept_tokens(held, wanted); };
  EXPECT_EQ(kept({1, 2, 3}), 3);
  EXPECT_EQ(kept({}), 0);
  EXPECT_EQ(kept({1, 2, 3, 4}), 0);  // nothing would be read, so there would be no logits
  EXPECT_EQ(kept({1, 2, 9}), 0);
  EXPECT_EQ(kept({1, 2, 3, 4, 5}), 0);
}

class KeptSequenceTest : public testing::Test {
 protected:
  KeptSequenceTest() {
    auto outcome = plan_inference(small_config(), layout_, {.threads = 2}, 1_GiB, {.context = 64, .chunk = 8});
    JERICHO_CHECK(std::holds_alternative<Plan>(outcome), "a small model does not fit {}", 1);
    session_.emplace(machine_.context, *model_, std::get<Plan>(outcome), KvBacking::kPopulate);
  }
  static std::vector<float> copy(std::span<const float> row) { return {row.begin(), row.end()}; }

  TestMachine machine_{2};
  WeightLayout layout_ = WeightLayout::of_shape(small_config(), DType::kQ8_0);
  std::unique_ptr<Model> model_ = Model::random(machine_.context, small_config(), layout_, 3);
  std::optional<Session> session_;
  std::vector<TokenId> text_ = random_tokens(30, small_config().vocab_size, 1);
};

TEST_F(KeptSequenceTest, GivesTheLogitsOfReadingAnew) {
  const std::span<const TokenId> text = text_;
  std::vector<float> anew;
  {
    KeptSequence sequence(*session_);
    anew = copy(sequence.read(text, {}, {}).logits);
  }
  KeptSequence sequence(*session_);
  EXPECT_EQ(sequence.read(text.first(10), {}, {}).kept, 0);
  const BatchItem item = {sequence.id(), text.subspan(10, 2), LogitRows::kLast};
  session_->forward({&item, 1});
  sequence.note(text.subspan(10, 3));  // the last was chosen, not read
  const KeptSequence::Reading rest = sequence.read(text, {}, {});
  EXPECT_EQ(rest.kept, 12);
  EXPECT_EQ(copy(rest.logits), anew);
}

TEST_F(KeptSequenceTest, BeginsAnewWhenTheTextDiffers) {
  KeptSequence sequence(*session_);
  sequence.read(text_, {}, {});
  EXPECT_EQ(sequence.read(std::span(text_).subspan(1), {}, {}).kept, 0);
  EXPECT_EQ(sequence.length(), 29);
}

TEST_F(KeptSequenceTest, KeepsWhatItReadBeforeItWasStopped) {
  KeptSequence sequence(*session_);
  std::stop_source stop;
  EXPECT_THROW(sequence.read(text_, stop.get_token(), [&](Index, Index) { stop.request_stop(); }), Error);
  EXPECT_EQ(sequence.length(), 8);
  EXPECT_EQ(sequence.read(text_, {}, {}).kept, 8);
}

TEST(Printer, TakesFromTerminalsWhatSteersThem) {
  EXPECT_EQ(harmless_to_terminals("a\tb\nü\r\n"), "a\tb\nü\n");
  EXPECT_EQ(harmless_to_terminals("\x1b[2J\x7f\xC2\x9B"), "\xEF\xBF\xBD[2J\xEF\xBF\xBD\xEF\xBF\xBD");
}

}  // namespace
}  // namespace jericho::cli
