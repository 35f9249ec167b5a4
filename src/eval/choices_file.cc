// Rows of a file of choices: see choices_file.h. Start at parse_choices(); parse_gold() is the delicate part.
#include "eval/choices_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <span>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json_file.h"
#include "formats/printable.h"

namespace jericho {
namespace {

using Json = nlohmann::json;
using Names = std::span<const std::string_view>;

constexpr std::array<std::string_view, 4> kContextNames = {"context", "question", "query", "ctx"};
constexpr std::array<std::string_view, 2> kChoicesNames = {"choices", "endings"};
constexpr std::array<std::string_view, 3> kGoldNames = {"label", "answer", "gold"};

std::string quoted(Names names) {
  std::string text;
  for (const std::string_view name : names) text += fmt::format("{}'{}'", text.empty() ? "" : ", ", name);
  return text;
}

std::string kind_of(const Json& value) {
  return value.is_string() ? "the text " + printable(value.get_ref<const std::string&>())
         : value.is_number() || value.is_boolean() || value.is_null()
             ? fmt::format("{} {}", value.type_name(), value.dump())
             : fmt::format("an {} of {}", value.type_name(), value.size());
}

[[noreturn]] void refuse(std::string_view field, std::string_view expected, const Json& found) {
  throw Error(ErrorKind::kInput, fmt::format("field '{}': expected {}, found {}", field, expected, kind_of(found)));
}

// The one field that has one of these names.
std::pair<std::string_view, const Json*> only_field(const Json& row, Names names, std::string_view purpose) {
  std::pair<std::string_view, const Json*> found{};
  for (const std::string_view name : names) {
    const auto field = row.find(name);
    if (field == row.end()) continue;
    if (found.second != nullptr) {
      throw Error(ErrorKind::kInput, fmt::format("expected one field for {}, found '{}' and '{}'; leave one of them",
                                                 purpose, found.first, name));
    }
    found = {name, &*field};
  }
  if (found.second != nullptr) return found;
  std::string present;
  for (const auto& [key, value] : row.items()) present += (present.empty() ? "" : ", ") + printable(key);
  throw Error(ErrorKind::kInput, fmt::format("expected a field for {}, one of {}; found {}", purpose, quoted(names),
                                             present.empty() ? "none" : present.substr(0, 200)));
}

std::vector<std::string> parse_choice_list(std::string_view field, const Json& value) {
  if (!value.is_array() || value.size() < 2) refuse(field, "an array of at least 2 texts", value);
  std::vector<std::string> choices;
  for (const Json& choice : value) {
    if (!choice.is_string() || choice.get_ref<const std::string&>().empty())
      refuse(fmt::format("{}[{}]", field, choices.size()), "a text that is not empty", choice);
    choices.push_back(choice.get<std::string>());
  }
  return choices;
}

// A text may be a choice itself, a letter or digits. What it means must be the same in each way in which it can be
// read.
std::optional<Index> gold_of_text(std::string_view field, const std::string& text,
                                  const std::vector<std::string>& choices) {
  const auto count = static_cast<Index>(choices.size());
  std::optional<Index> gold;
  const auto reads_as = [&](Index index) {
    if (index < 0 || index >= count) return;
    if (gold && *gold != index) {
      throw Error(ErrorKind::kInput,
                  fmt::format("field '{}': {} can mean choice {} and choice {} (counted from 0); give "
                              "the number of the right one, not a text",
                              field, printable(text), *gold, index));
    }
    gold = index;
  };
  reads_as(std::find(choices.begin(), choices.end(), text) - choices.begin());
  if (text.size() == 1 && text[0] >= 'A' && text[0] <= 'Z') reads_as(text[0] - 'A');
  Index number = -1;
  const char* const end = text.data() + text.size();
  if (const auto [stop, error] = std::from_chars(text.data(), end, number); error == std::errc() && stop == end)
    reads_as(number);
  return gold;
}

Index parse_gold(std::string_view field, const Json& value, const std::vector<std::string>& choices) {
  const auto count = static_cast<Index>(choices.size());
  const auto letters = count <= 26 ? fmt::format(", a letter from A to {}", static_cast<char>('A' + count - 1)) : "";
  const std::string expected = fmt::format("a whole number from 0 to {}{} or the text of a choice", count - 1, letters);
  if (value.is_string()) {
    const auto gold = gold_of_text(field, value.get_ref<const std::string&>(), choices);
    if (!gold) refuse(field, expected, value);
    return *gold;
  }
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= choices.size()) refuse(field, expected, value);
  return static_cast<Index>(value.get<std::uint64_t>());
}

ChoiceQuestion parse_row(std::string_view line, Index number, const std::string& what) {
  const Json row = parse_json(line, what);
  return with_context([&] { return what; },
                      [&] {
                        if (!row.is_object()) {
                          throw Error(ErrorKind::kInput,
                                      fmt::format("expected one JSON object on the line, found {}", kind_of(row)));
                        }
                        ChoiceQuestion question;
                        question.line = number;
                        const auto [context_name, context] = only_field(row, kContextNames, "the context");
                        if (!context->is_string()) refuse(context_name, "a text", *context);
                        question.context = context->get<std::string>();
                        const auto [choices_name, choices] = only_field(row, kChoicesNames, "the choices");
                        question.choices = parse_choice_list(choices_name, *choices);
                        const auto [gold_name, gold] = only_field(row, kGoldNames, "the right choice");
                        question.gold = parse_gold(gold_name, *gold, question.choices);
                        return question;
                      });
}

}  // namespace

std::vector<ChoiceQuestion> parse_choices(std::string_view text, std::string_view what) {
  std::vector<ChoiceQuestion> questions;
  Index number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    questions.push_back(parse_row(line, number, fmt::format("{} line {}", what, number)));
  }
  if (questions.empty()) {
    throw Error(
        ErrorKind::kInput,
        fmt::format("{}: expected one JSON object with context, choices and label on each line, found no questions",
                    what));
  }
  return questions;
}

}  // namespace jericho
