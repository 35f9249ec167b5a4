// What of a file is a document, what of it is trained, and what becomes of it as tokens.
#include "train/documents.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/test_data.h"
#include "kernels/kernels.h"
#include "memory/temp_folder.h"
#include "text/load_tokenizer.h"
#include "train/data.h"

namespace jericho {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kTemplate =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% "
    "endif %}";

class DocumentsTest : public testing::Test {
 protected:
  Documents read(const std::string& lines, const std::string& name = "chat.jsonl") {
    std::ofstream(folder_.path() / name) << lines;
    return read_documents((folder_.path() / name).string(), options());
  }
  std::string refusal(const std::string& lines, const std::string& name = "chat.jsonl") {
    try {
      read(lines, name);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing";
  }
  // What is trained of each document.
  static std::vector<std::string> trained(const Documents& documents) {
    std::vector<std::string> result;
    for (const Document& document : documents.list) {
      std::string text;
      for (const TextRange& range : document.trained)
        text += std::string(document.text.substr(range.begin, range.end - range.begin)) + "|";
      result.push_back(document.trained.empty() ? std::string(document.text) : text);
    }
    return result;
  }
  DocumentOptions options() { return {.train_on = train_on_, .chat_template = chat_ ? &*chat_ : nullptr}; }

  TempFolder folder_;
  std::optional<ChatTemplate> chat_ = ChatTemplate::parse(kTemplate);
  TrainOn train_on_ = TrainOn::kAssistant;
};

constexpr const char* kConversation =
    R"({"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"},)"
    R"( {"role": "assistant", "content": "hello"}, {"role": "user", "content": "and?"},)"
    R"( {"role": "assistant", "content": "bye"}, {"role": "user", "content": "wait"}]})";

TEST_F(DocumentsTest, TrainTheAnswersOfAConversationWithTheEndOfTheirTurns) {
  const Documents documents = read(kConversation);
  ASSERT_EQ(documents.list.size(), 1);
  EXPECT_EQ(documents.list[0].text, "<system>be kind</><user>hi</><assistant>hello</><user>and?</><assistant>bye</>");
  EXPECT_THAT(trained(documents), ElementsAre("hello</>|bye</>|"));
  EXPECT_EQ(documents.list[0].special, SpecialTokens::kParse);
  EXPECT_FALSE(documents.list[0].ends);
}

TEST_F(DocumentsTest, TrainTheLastAnswerOrAllOfItWhereThatIsAsked) {
  train_on_ = TrainOn::kLastAssistant;
  EXPECT_THAT(trained(read(kConversation)), ElementsAre("bye</>|"));
  train_on_ = TrainOn::kAll;
  EXPECT_THAT(trained(read(kConversation)), ElementsAre(HasSubstr("<user>wait</>")));
}

TEST_F(DocumentsTest, ReadEveryFormOfLine) {
  const Documents documents = read(
      "{\"text\": \" a story \"}\n\n"
      R"({"prompt": "2+2=", "completion": "4"})"
      "\n"
      R"({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]})"
      "\n"
      R"({"instruction": "add", "input": "1 1", "output": "2"})"
      "\n"
      R"({"text": "  "})"
      "\n"
      R"({"messages": [{"role": "user", "content": "nobody answers"}]})");
  EXPECT_THAT(trained(documents), ElementsAre("a story", "4|", "a</>|", "2</>|"));
  EXPECT_EQ(documents.list[1].text, "2+2=4");
  EXPECT_EQ(documents.list[3].text, "<user>add\n\n1 1</><assistant>2</>");
}

TEST_F(DocumentsTest, AreWhatStandsBetweenSeparatorsInAnyOtherFile) {
  EXPECT_THAT(trained(read(" one \n<|endoftext|>\n<|endoftext|>two", "text.txt")), ElementsAre("one", "two"));
}

TEST_F(DocumentsTest, MayStandInOneList) {
  EXPECT_THAT(trained(read(R"([{"text": "a"}, {"prompt": "b", "completion": "c"}])", "list.json")),
              ElementsAre("a", "c|"));
  EXPECT_THAT(refusal("{}", "list.json"), HasSubstr("list.json: expected a list of objects, found something else"));
  EXPECT_THAT(refusal(R"([{"text": "a"}, 3])", "list.json"), HasSubstr("list.json: entry 2: expected an object"));
}

TEST_F(DocumentsTest, NameTheLineThatIsWrong) {
  EXPECT_THAT(refusal("{\"text\": \"a\"}\n{"), HasSubstr("chat.jsonl: line 2: expected an object with \"text\""));
  EXPECT_THAT(refusal("[1]"), HasSubstr("line 1: expected an object"));
  EXPECT_THAT(refusal("{\"story\": 1}"), HasSubstr("found an object without any of them"));
  EXPECT_THAT(refusal("{\"prompt\": \"a\"}"), HasSubstr("expected \"completion\" as text"));
  EXPECT_THAT(refusal("{\"messages\": 3}"), HasSubstr("expected \"messages\" as a list"));
  EXPECT_THAT(refusal(R"({"messages": [{"role": 1}]})"), HasSubstr("message 1: expected \"role\" as text"));
  EXPECT_THAT(refusal(R"({"conversations": [{"from": "gpt"}]})"), HasSubstr("\"from\", \"value\""));
  EXPECT_THAT(refusal("{\"text\": \"\"}"), HasSubstr("chat.jsonl: holds no text"));
  chat_.reset();
  EXPECT_THAT(refusal(kConversation), HasSubstr("line 1: is a conversation, and the model has no chat template"));
}

TEST_F(DocumentsTest, SayWhereATemplateRewritesWhatWasSaidBefore) {
  chat_ =
      ChatTemplate::parse("{{ messages | length }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}");
  EXPECT_THAT(refusal(kConversation), HasSubstr("message 3: the chat template writes what precedes an answer in "
                                                "another form once more follows; data.train_on: last-assistant"));
}

TEST_F(DocumentsTest, BecomeTokensOfWhichOnlyTheAnswersAreTargets) {
  std::ofstream(folder_.path() / "chat.jsonl") << kConversation << "\n"
                                               << R"({"prompt": "the cat ", "completion": "sat"})";
  const auto tokenizer = load_tokenizer_file(test_source("text/testdata/byte-level/tokenizer.json"));
  Ledger ledger(LedgerCaps{.ram = 1_GiB});
  ThreadPool pool(2);
  const Context context{ledger, pool, kernels_for(chosen_cpu_path())};
  const std::vector<std::string> files = {(folder_.path() / "chat.jsonl").string()};
  const auto store_of = [&](Index most) {
    return TokenStore::read(context, files, options(), most, *tokenizer, {}, {});
  };
  const TokenStore store = store_of(1000);
  std::string targets;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(store.tokens()));
  store.read(0, ids);
  for (Index i = 0; i < store.tokens(); ++i) {
    if (store.trained(i) && i != store.start(0) && i != store.start(1))
      targets += tokenizer->piece(ids[static_cast<std::size_t>(i)]);
  }
  EXPECT_THAT(targets, testing::StartsWith("hello</>bye</>sat"));
  SequenceSampler sampler(store, DataMode::kDocuments, true, 256, 1);
  SampleRows rows;
  for (Index i = 0; i < sampler.epoch_sequences(0); ++i) sampler.append(0, i, rows);
  EXPECT_EQ(rows.trained, store.trained_tokens());
  EXPECT_EQ(std::count_if(rows.targets.begin(), rows.targets.end(), [](auto id) { return id != kIgnored; }),
            rows.trained);
  EXPECT_LT(store.trained_tokens(), store.tokens() / 2);

  const TokenStore cut = store_of(20);  // the conversation ends before its first answer does, or begins
  EXPECT_EQ(cut.cut_documents() + cut.left_out(), 1);
  EXPECT_LT(cut.trained_tokens(), store.trained_tokens());
}

}  // namespace
}  // namespace jericho
