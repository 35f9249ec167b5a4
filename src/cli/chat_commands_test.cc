// What lines mean, and messages that come as lines.
#include "cli/chat_commands.h"

#include <unistd.h>

#include <array>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/message_reader.h"

namespace jericho::cli {
namespace {

using testing::HasSubstr;
using Kind = TypedMessage::Kind;

std::string refusal(std::string_view line) {
  try {
    parse_chat_line(line);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

TEST(ChatLine, IsAMessageUnlessItBeginsWithASlash) {
  for (const char* text : {"hello", " /reset", "a\n/quit"}) {
    const ChatLine line = parse_chat_line(text);
    EXPECT_EQ(line.command, ChatCommand::kMessage);
    EXPECT_EQ(line.argument, text);
  }
  EXPECT_EQ(parse_chat_line("//reset it").command, ChatCommand::kMessage);
  EXPECT_EQ(parse_chat_line("//reset it").argument, "/reset it");
  EXPECT_EQ(parse_chat_line(" \n\t").command, ChatCommand::kNothing);
}

TEST(ChatLine, TakesTheRestAsTheArgument) {
  const ChatLine line = parse_chat_line("/system  You are\nbrief. ");
  EXPECT_EQ(line.command, ChatCommand::kSystem);
  EXPECT_EQ(line.argument, "You are\nbrief.");
  EXPECT_EQ(parse_chat_line("/save a b.json").argument, "a b.json");
}

TEST(ChatLine, RefusesWhatItDoesNotKnowWithAHint) {
  EXPECT_THAT(refusal("/rest"), testing::AllOf(HasSubstr("/rest"), HasSubstr("/help"), HasSubstr("//")));
  EXPECT_THAT(refusal("/save"), HasSubstr("FILE"));
  EXPECT_THAT(refusal("/quit now"), HasSubstr("now"));
}

TEST(ChatHelp, NamesEveryCommand) {
  for (const char* name : {"/reset", "/system", "/memory", "/save", "/load", "/help", "/quit"})
    EXPECT_THAT(chat_help(), HasSubstr(name));
}

class LineReaderTest : public testing::Test {
 protected:
  LineReaderTest() { EXPECT_EQ(pipe(ends_.data()), 0); }
  ~LineReaderTest() override {
    if (ends_[1] >= 0) close(ends_[1]);
    close(ends_[0]);
  }
  void write_all(std::string_view text) {
    EXPECT_EQ(write(ends_[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(ends_[1]);
    ends_[1] = -1;
  }
  std::array<int, 2> ends_{};
};

TEST_F(LineReaderTest, ReadsOneMessagePerLine) {
  write_all("one\r\n\ntwo \\\nthree\nlast");
  const auto reader = make_line_reader(ends_[0], 100_B);
  for (const char* text : {"one", "", "two \nthree", "last"}) {
    const TypedMessage message = reader->read({});
    EXPECT_EQ(message.kind, Kind::kText);
    EXPECT_EQ(message.text, text);
  }
  EXPECT_EQ(reader->read({}).kind, Kind::kEnd);
}

TEST_F(LineReaderTest, RefusesWhatIsTooLongAndGoesOn) {
  write_all(std::string(30000, 'x') + "\\\nmore\nnext\n");
  const auto reader = make_line_reader(ends_[0], 100_B);
  const TypedMessage refused = reader->read({});
  EXPECT_EQ(refused.kind, Kind::kRefused);
  EXPECT_THAT(refused.text, HasSubstr("100 B"));
  EXPECT_EQ(reader->read({}).text, "next");
}

TEST_F(LineReaderTest, StopsWaitingWhenAsked) {
  std::stop_source stop;
  const std::jthread later([&] { stop.request_stop(); });
  EXPECT_EQ(make_line_reader(ends_[0], 100_B)->read(stop.get_token()).kind, Kind::kInterrupted);
}

}  // namespace
}  // namespace jericho::cli
