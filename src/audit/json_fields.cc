// Checks and their complaints: see json_fields.h.
#include "audit/json_fields.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "audit/device.h"
#include "base/error.h"

namespace jericho {
namespace {

constexpr double kMostOfAnything = 1e21;  // nothing of a device is more, in any unit

}  // namespace

JsonFields::JsonFields(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {
  if (!object.is_object()) throw Error(ErrorKind::kInput, fmt::format("{}: expected an object", where_));
}

void JsonFields::fail(std::string_view key, std::string_view expected) const {
  throw Error(ErrorKind::kInput, fmt::format("{}: {}: expected {}", where_, key, expected));
}

const nlohmann::json* JsonFields::find(const char* key) const {
  const auto member = object_.find(key);
  return member == object_.end() || member->is_null() ? nullptr : &*member;
}

void JsonFields::only(std::initializer_list<std::string_view> keys) const {
  for (const auto& [key, value] : object_.items()) {
    const bool known = key.starts_with("_") || std::find(keys.begin(), keys.end(), key) != keys.end();
    if (!known) fail(key, fmt::format("one of {}", fmt::join(keys, ", ")));
  }
}

std::optional<double> JsonFields::positive(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : -1;
  if (!(number > 0 && number <= kMostOfAnything)) fail(key, "a positive number");
  return number;
}

std::optional<Index> JsonFields::whole(const char* key, Index least, Index most) const {
  const auto number = positive(key);
  if (!number) return std::nullopt;
  if (*number < static_cast<double>(least) || *number > static_cast<double>(most) ||
      *number != static_cast<double>(static_cast<Index>(*number)))
    fail(key, fmt::format("a whole number from {} to {}", least, most));
  return static_cast<Index>(*number);
}

std::optional<std::string> JsonFields::text(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(key, "a text");
  return value->get<std::string>();
}

std::optional<int> JsonFields::month(const char* key) const {
  const auto value = text(key);
  if (!value) return std::nullopt;
  const auto month = parse_month(*value);
  if (!month) fail(key, "a month such as 2024-11");
  return month;
}

const nlohmann::json* JsonFields::list(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value != nullptr && !value->is_array()) fail(key, "a list");
  return value;
}

const nlohmann::json* JsonFields::object(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value != nullptr && !value->is_object()) fail(key, "an object");
  return value;
}

}  // namespace jericho
