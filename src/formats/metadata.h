// The key-values of a model file, looked up by type. A file may store an integer in any width, so the look-ups ask for
// what the caller needs and convert where nothing is lost; an Error names the key, what was expected and what was
// found. Start at Metadata.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/index.h"

namespace jericho {

// Unsigned integers of any width are uint64, signed ones int64, f32 and f64 double.
using MetadataValue =
    std::variant<bool, std::uint64_t, std::int64_t, double, std::string, std::vector<bool>, std::vector<std::uint64_t>,
                 std::vector<std::int64_t>, std::vector<double>, std::vector<std::string>>;

std::string_view type_name(const MetadataValue& value);  // "unsigned integer", "array of text", ...

// Thread-compatible. A look-up of an absent key gives nothing; of a key that holds another type it throws
// Error(kInput).
class Metadata {
 public:
  void set(std::string key, MetadataValue value);  // replaces
  void erase(std::string_view key);                // frees big arrays, such as token lists, when they have been read

  [[nodiscard]] bool has(std::string_view key) const;
  [[nodiscard]] bool is_array(
      std::string_view key) const;  // false when absent: some keys are one number or one per layer
  [[nodiscard]] const std::map<std::string, MetadataValue, std::less<>>& entries() const { return entries_; }

  [[nodiscard]] std::optional<Index> integer(std::string_view key) const;  // any integer type, if the value fits
  [[nodiscard]] std::optional<double> number(std::string_view key) const;  // a float or an integer
  [[nodiscard]] std::optional<bool> boolean(std::string_view key) const;
  [[nodiscard]] const std::string* text(std::string_view key) const;                     // nullptr when absent
  [[nodiscard]] std::optional<std::vector<Index>> integers(std::string_view key) const;  // of any integer type or bool
  [[nodiscard]] std::optional<std::vector<double>> numbers(std::string_view key) const;  // of floats or integers
  [[nodiscard]] const std::vector<std::string>* texts(std::string_view key) const;       // nullptr when absent

  // The same for keys without which the file is of no use: absence is an Error too.
  [[nodiscard]] Index require_integer(std::string_view key) const;
  [[nodiscard]] double require_number(std::string_view key) const;
  [[nodiscard]] bool require_boolean(std::string_view key) const;
  [[nodiscard]] const std::string& require_text(std::string_view key) const;
  [[nodiscard]] std::vector<Index> require_integers(std::string_view key) const;
  [[nodiscard]] std::vector<double> require_numbers(std::string_view key) const;
  [[nodiscard]] const std::vector<std::string>& require_texts(std::string_view key) const;

 private:
  [[nodiscard]] const MetadataValue* find(std::string_view key) const;

  std::map<std::string, MetadataValue, std::less<>> entries_;
};

}  // namespace jericho
