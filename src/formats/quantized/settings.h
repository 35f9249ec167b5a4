// The object "quantization_config" of a checkpoint: members looked up by type; null counts as absent. Errors name the
// member, what was expected and what was found.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/index.h"

namespace jericho {

// A view of a JSON object.
class QuantizationSettings {
 public:
  // `place` names the object in errors: "quantization_config", "config_groups.group_0".
  QuantizationSettings(const nlohmann::json& object, std::string place);

  [[nodiscard]] std::optional<Index> integer(const char* key) const;
  [[nodiscard]] std::optional<double> number(const char* key) const;
  [[nodiscard]] std::optional<bool> boolean(const char* key) const;
  [[nodiscard]] std::optional<std::string> text(const char* key) const;
  [[nodiscard]] std::optional<QuantizationSettings> object(const char* key) const;
  [[nodiscard]] std::vector<Index> integers(const char* key) const;  // empty when absent
  [[nodiscard]] std::vector<std::string> texts(const char* key) const;
  [[nodiscard]] std::vector<QuantizationSettings> objects_in(const char* key) const;  // the members of an object
  [[nodiscard]] bool has(const char* key) const;  // present, and neither null nor empty

  // Error(kUnsupported): "quantization_config: 'KEY' is VALUE, which is not supported yet; REMEDY".
  [[noreturn]] void unsupported(const char* key, std::string_view remedy) const;

 private:
  [[nodiscard]] const nlohmann::json* find(const char* key) const;
  [[noreturn]] void wrong_type(const char* key, std::string_view expected) const;
  const nlohmann::json* object_;
  std::string place_;
};

}  // namespace jericho
