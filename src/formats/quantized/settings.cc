// Look-ups by type, and the messages about what is found instead.
#include "formats/quantized/settings.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/printable.h"

namespace jericho {
namespace {

std::string shown(const nlohmann::json& value) {
  std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 60) + "...";
}

}  // namespace

QuantizationSettings::QuantizationSettings(const nlohmann::json& object, std::string place)
    : object_(&object), place_(std::move(place)) {
  if (!object.is_object()) {
    throw Error(ErrorKind::kInput, fmt::format("{} is {}, expected an object", place_, shown(object)));
  }
}

const nlohmann::json* QuantizationSettings::find(const char* key) const {
  const auto member = object_->find(key);
  return member == object_->end() || member->is_null() ? nullptr : &*member;
}

void QuantizationSettings::wrong_type(const char* key, std::string_view expected) const {
  throw Error(ErrorKind::kInput, fmt::format("{}: '{}' is {}, expected {}", place_, key, shown(*find(key)), expected));
}

void QuantizationSettings::unsupported(const char* key, std::string_view remedy) const {
  const nlohmann::json* value = find(key);
  throw Error(ErrorKind::kUnsupported, fmt::format("{}: '{}' is {}, which is not supported yet; {}", place_, key,
                                                   value == nullptr ? "absent" : shown(*value), remedy));
}

std::optional<Index> QuantizationSettings::integer(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) wrong_type(key, "an integer");
  return value->get<Index>();
}

std::optional<double> QuantizationSettings::number(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) wrong_type(key, "a number");
  return value->get<double>();
}

std::optional<bool> QuantizationSettings::boolean(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) wrong_type(key, "true or false");
  return value->get<bool>();
}

std::optional<std::string> QuantizationSettings::text(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) wrong_type(key, "a text");
  return value->get<std::string>();
}

std::optional<QuantizationSettings> QuantizationSettings::object(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) wrong_type(key, "an object");
  return QuantizationSettings(*value, fmt::format("{}.{}", place_, key));
}

std::vector<Index> QuantizationSettings::integers(const char* key) const {
  const nlohmann::json* value = find(key);
  std::vector<Index> all;
  if (value == nullptr) return all;
  if (!value->is_array()) wrong_type(key, "an array of integers");
  for (const nlohmann::json& element : *value) {
    if (!element.is_number_integer()) wrong_type(key, "an array of integers");
    all.push_back(element.get<Index>());
  }
  return all;
}

std::vector<std::string> QuantizationSettings::texts(const char* key) const {
  const nlohmann::json* value = find(key);
  std::vector<std::string> all;
  if (value == nullptr) return all;
  if (!value->is_array()) wrong_type(key, "an array of texts");
  for (const nlohmann::json& element : *value) {
    if (!element.is_string()) wrong_type(key, "an array of texts");
    all.push_back(element.get<std::string>());
  }
  return all;
}

std::vector<QuantizationSettings> QuantizationSettings::objects_in(const char* key) const {
  const nlohmann::json* value = find(key);
  std::vector<QuantizationSettings> all;
  if (value == nullptr) return all;
  if (!value->is_object()) wrong_type(key, "an object");
  for (const auto& [name, member] : value->items()) {
    all.emplace_back(member, fmt::format("{}.{}.{}", place_, key, printable(name)));
  }
  return all;
}

bool QuantizationSettings::has(const char* key) const {
  const nlohmann::json* value = find(key);
  return value != nullptr && !value->empty();
}

}  // namespace jericho
