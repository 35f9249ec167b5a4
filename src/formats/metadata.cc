// Typed look-ups: each lists the stored types it accepts and leaves the rest to one error.
#include "formats/metadata.h"

#include <array>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "formats/printable.h"

namespace jericho {
namespace {

[[noreturn]] void wrong_type(std::string_view key, std::string_view expected, const MetadataValue& found) {
  throw Error(ErrorKind::kInput,
              fmt::format("key {} holds {}, expected {}", printable(key), type_name(found), expected));
}

Index to_index(std::string_view key, std::uint64_t value) {
  if (value > static_cast<std::uint64_t>(std::numeric_limits<Index>::max())) {
    throw Error(ErrorKind::kInput, fmt::format("key {} holds {}, expected at most {}", printable(key), value,
                                               std::numeric_limits<Index>::max()));
  }
  return static_cast<Index>(value);
}

template <class Result>
Result required(std::string_view key, std::string_view expected, std::optional<Result> found) {
  if (!found) {
    throw Error(ErrorKind::kInput, fmt::format("key {} is missing, expected {}", printable(key), expected));
  }
  return *std::move(found);
}

template <class Result>
const Result& required(std::string_view key, std::string_view expected, const Result* found) {
  if (found == nullptr) {
    throw Error(ErrorKind::kInput, fmt::format("key {} is missing, expected {}", printable(key), expected));
  }
  return *found;
}

}  // namespace

std::string_view type_name(const MetadataValue& value) {
  static constexpr auto kNames = std::to_array<std::string_view>(
      {"a bool", "an unsigned integer", "a signed integer", "a float", "a text", "an array of bools",
       "an array of unsigned integers", "an array of signed integers", "an array of floats", "an array of texts"});
  static_assert(kNames.size() == std::variant_size_v<MetadataValue>);
  return kNames[value.index()];
}

void Metadata::set(std::string key, MetadataValue value) {
  entries_.insert_or_assign(std::move(key), std::move(value));
}

void Metadata::erase(std::string_view key) {
  if (const auto entry = entries_.find(key); entry != entries_.end()) entries_.erase(entry);
}

const MetadataValue* Metadata::find(std::string_view key) const {
  const auto entry = entries_.find(key);
  return entry == entries_.end() ? nullptr : &entry->second;
}

bool Metadata::has(std::string_view key) const { return find(key) != nullptr; }

bool Metadata::is_array(std::string_view key) const {
  const MetadataValue* value = find(key);
  return value != nullptr && value->index() >= MetadataValue(std::vector<bool>{}).index();
}

std::optional<Index> Metadata::integer(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<std::uint64_t>(value)) return to_index(key, *number);
  if (const auto* number = std::get_if<std::int64_t>(value)) return *number;
  wrong_type(key, "an integer", *value);
}

std::optional<double> Metadata::number(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<double>(value)) return *number;
  if (const auto* number = std::get_if<std::uint64_t>(value)) return static_cast<double>(*number);
  if (const auto* number = std::get_if<std::int64_t>(value)) return static_cast<double>(*number);
  wrong_type(key, "a number", *value);
}

std::optional<bool> Metadata::boolean(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* truth = std::get_if<bool>(value)) return *truth;
  wrong_type(key, "a bool", *value);
}

const std::string* Metadata::text(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* text = std::get_if<std::string>(value)) return text;
  wrong_type(key, "a text", *value);
}

std::optional<std::vector<Index>> Metadata::integers(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* numbers = std::get_if<std::vector<std::int64_t>>(value)) return *numbers;
  std::vector<Index> result;
  if (const auto* numbers = std::get_if<std::vector<std::uint64_t>>(value)) {
    result.reserve(numbers->size());
    for (const std::uint64_t number : *numbers) result.push_back(to_index(key, number));
    return result;
  }
  if (const auto* truths = std::get_if<std::vector<bool>>(value)) {
    result.assign(truths->begin(), truths->end());
    return result;
  }
  wrong_type(key, "an array of integers", *value);
}

std::optional<std::vector<double>> Metadata::numbers(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* numbers = std::get_if<std::vector<double>>(value)) return *numbers;
  std::vector<double> result;
  if (const auto* numbers = std::get_if<std::vector<std::uint64_t>>(value)) {
    for (const std::uint64_t number : *numbers) result.push_back(static_cast<double>(number));
    return result;
  }
  if (const auto* numbers = std::get_if<std::vector<std::int64_t>>(value)) {
    for (const std::int64_t number : *numbers) result.push_back(static_cast<double>(number));
    return result;
  }
  wrong_type(key, "an array of numbers", *value);
}

const std::vector<std::string>* Metadata::texts(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* texts = std::get_if<std::vector<std::string>>(value)) return texts;
  wrong_type(key, "an array of texts", *value);
}

Index Metadata::require_integer(std::string_view key) const { return required(key, "an integer", integer(key)); }
double Metadata::require_number(std::string_view key) const { return required(key, "a number", number(key)); }
bool Metadata::require_boolean(std::string_view key) const { return required(key, "a bool", boolean(key)); }
const std::string& Metadata::require_text(std::string_view key) const { return required(key, "a text", text(key)); }
std::vector<Index> Metadata::require_integers(std::string_view key) const {
  return required(key, "an array of integers", integers(key));
}
std::vector<double> Metadata::require_numbers(std::string_view key) const {
  return required(key, "an array of numbers", numbers(key));
}
const std::vector<std::string>& Metadata::require_texts(std::string_view key) const {
  return required(key, "an array of texts", texts(key));
}

}  // namespace jericho
