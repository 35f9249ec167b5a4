// Members of a JSON object that came from outside, each checked where it is read: files of devices and roadmaps.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/index.h"

namespace jericho {

// Of what is absent or null there is nothing. Keys that begin with an underscore are remarks.
class JsonFields {
 public:
  // `where` names the object in errors: "FILE: device 'h100'". Error(kInput) unless it is an object.
  JsonFields(const nlohmann::json& object, std::string where);

  [[nodiscard]] const std::string& where() const { return where_; }
  void only(std::initializer_list<std::string_view> keys) const;  // Error(kInput) naming another key
  [[nodiscard]] std::optional<double> positive(const char* key) const;
  [[nodiscard]] std::optional<Index> whole(const char* key, Index least, Index most) const;
  [[nodiscard]] std::optional<std::string> text(const char* key) const;
  [[nodiscard]] std::optional<int> month(const char* key) const;  // device.h, parse_month()
  [[nodiscard]] const nlohmann::json* list(const char* key) const;
  [[nodiscard]] const nlohmann::json* object(const char* key) const;

  [[noreturn]] void fail(std::string_view key, std::string_view expected) const;

 private:
  [[nodiscard]] const nlohmann::json* find(const char* key) const;

  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace jericho
