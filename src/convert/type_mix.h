// Which type each tensor of a GGUF gets: the mixes that users know by name from llama.cpp ("Q4_K_M" is Q4_K with Q6_K
// where it pays most), chosen by what a tensor does and how deep it lies. Start at TypeMix::named().
// Source of the choices: llama.cpp's llama_tensor_get_type(), without those that need an importance matrix or IQ types.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/index.h"
#include "models/config.h"
#include "tensor/dtype.h"

namespace jericho {

class TypeMix {
 public:
  // "F32", "F16", "BF16", "Q8_0", "Q4_K_M", ...; "Q4_K" is "Q4_K_M", as users write it. Nothing for an unknown name.
  static std::optional<TypeMix> named(std::string_view name);
  static std::string names();  // of all mixes, for messages

  // Of a matrix [rows, cols] that GGUF calls `tensor`. Vectors, routers and parameters of state spaces are not asked
  // for: they are F32. A row that the type's blocks do not divide gets the nearest type whose blocks do, else F16.
  [[nodiscard]] DType type_of(std::string_view tensor, Index cols, const ModelConfig& config) const;

  [[nodiscard]] std::string_view name() const { return name_; }
  [[nodiscard]] std::uint32_t file_type() const { return file_type_; }  // general.file_type

 private:
  friend struct MixTable;
  constexpr TypeMix(std::string_view name, std::uint32_t file_type, DType base)
      : name_(name), file_type_(file_type), base_(base) {}

  [[nodiscard]] DType wanted(std::string_view tensor, const ModelConfig& config) const;
  [[nodiscard]] bool is(std::string_view name) const { return name_ == name; }

  std::string_view name_;
  std::uint32_t file_type_;
  DType base_;
};

}  // namespace jericho
