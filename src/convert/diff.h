// What differs between two models, whatever their formats: their configuration, and every weight by value. Weights are
// compared as a Hugging Face directory would keep them, so that the same model in two formats differs in nothing. Start
// at Comparison.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "convert/row_converter.h"
#include "formats/model_file.h"
#include "memory/io.h"
#include "models/config.h"
#include "models/weight_reader.h"
#include "models/weights.h"
#include "ops/context.h"

namespace jericho {

struct FieldDifference {  // of the metadata
  std::string key{};
  std::optional<std::string> a{}, b{};  // nothing: the key is not there
};

struct WeightDifference {
  std::string name{};  // in a Hugging Face directory
  DType a{}, b{};      // types in the files
  Index elements = 0;
  Index different = 0;      // elements whose values are not equal
  double largest = 0;       // |a - b|
  double relative_rms = 0;  // sqrt(sum (a - b)^2 / sum a^2)
};

struct ModelDifference {
  std::vector<FieldDifference> fields{};
  std::vector<WeightDifference> weights{};  // of those that both have, in the order of A
  std::vector<std::string> only_a{}, only_b{};
  std::vector<std::string> other_shapes{};  // "NAME: [..] and [..]"
};

class Comparison {  // one thread
 public:
  // Both files outlive it. Errors as read_config() and WeightLayout::of_file().
  Comparison(const ModelFile& a, const ModelFile& b);

  [[nodiscard]] Bytes bytes() const { return a_.layout.file_bytes() + b_.layout.file_bytes(); }
  [[nodiscard]] Bytes buffer_bytes() const;

  // `io_a` and `io_b` are two backends; `buffers` has buffer_bytes() and starts on a multiple of 4096. Each chunk of a
  // file is read once.
  using Progress = std::function<void(Bytes done, Bytes total)>;
  ModelDifference run(const Context& context, IoBackend& io_a, IoBackend& io_b, std::span<std::byte> buffers,
                      const std::stop_token& stop, const Progress& progress) const;

 private:
  struct Side {
    explicit Side(const ModelFile& file);
    [[nodiscard]] Bytes buffer_bytes() const;
    const ModelFile& file;
    ModelConfig config;
    WeightLayout layout;
  };
  class Rows;

  Side a_, b_;
};

}  // namespace jericho
