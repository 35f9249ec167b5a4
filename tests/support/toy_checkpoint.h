// For tests only: a Hugging Face directory of random F32 weights, and the same numbers as doubles with the few
// operations that a forward pass written down from its formulas needs. Start at ToyCheckpoint.
#pragma once

#include <cmath>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/index.h"
#include "formats/test_files.h"

namespace jericho {

using Row = std::vector<double>;

struct DoubleMatrix {
  std::size_t rows = 0, cols = 0;
  Row values{};
  [[nodiscard]] Row row(std::size_t r) const {
    const auto from = values.begin() + static_cast<std::ptrdiff_t>(r * cols);
    return {from, from + static_cast<std::ptrdiff_t>(cols)};
  }
  [[nodiscard]] Row times(const Row& x) const {
    JERICHO_CHECK(x.size() == cols, "{} values for {} columns", x.size(), cols);
    Row y(rows, 0.0);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < cols; ++c) y[r] += values[r * cols + c] * x[c];
    }
    return y;
  }
};

inline Row part(const Row& x, std::size_t first, std::size_t count) {
  const auto from = x.begin() + static_cast<std::ptrdiff_t>(first);
  return {from, from + static_cast<std::ptrdiff_t>(count)};
}
inline Row plus(Row x, const Row& dx) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += dx[i];
  return x;
}
inline Row times(Row x, double factor) {
  for (double& value : x) value *= factor;
  return x;
}
inline double dot(const Row& a, const Row& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}
// x / sqrt(mean(x^2) + eps) * (w + offset)
inline Row rms_norm(Row x, const Row& w, double eps, double offset = 0) {
  const double scale = 1 / std::sqrt(dot(x, x) / static_cast<double>(x.size()) + eps);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] *= scale * (w[i] + offset);
  return x;
}
inline Row softmax(Row x) {
  double most = -1e300, sum = 0;
  for (const double value : x) most = std::max(most, value);
  for (double& value : x) sum += value = std::exp(value - most);
  return times(std::move(x), 1 / sum);
}

class ToyCheckpoint {
 public:
  struct Tensor {
    std::string name{};
    std::vector<Index> shape{};
  };
  // Matrices of a standard deviation that keeps activations near 1, vectors near 0.3 of either sign.
  ToyCheckpoint(const nlohmann::json& config, const std::vector<Tensor>& tensors, unsigned seed) {
    std::mt19937 random(seed);
    SafetensorsWriter writer;
    std::vector<std::vector<float>> data;
    for (const Tensor& tensor : tensors) {
      writer.add_tensor(tensor.name, DType::kF32, tensor.shape);
      const bool vector = tensor.shape.size() == 1;
      DoubleMatrix& matrix = weights_[tensor.name];
      matrix.cols = static_cast<std::size_t>(tensor.shape.back());
      matrix.rows = 1;
      for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i)
        matrix.rows *= static_cast<std::size_t>(tensor.shape[i]);
      std::normal_distribution<float> normal(0, vector ? 0.3f : 1.2f / std::sqrt(static_cast<float>(matrix.cols)));
      std::vector<float>& values = data.emplace_back(matrix.rows * matrix.cols);
      for (float& value : values) value = normal(random);
      matrix.values.assign(values.begin(), values.end());
    }
    std::ostringstream out;
    writer.begin(out);
    for (const auto& values : data) writer.append(std::as_bytes(std::span(values)));
    directory_.put("model.safetensors", out.str());
    directory_.put("config.json", config.dump());
  }
  [[nodiscard]] const std::filesystem::path& path() const { return directory_.path(); }
  [[nodiscard]] const DoubleMatrix& matrix(const std::string& name) const {
    const auto found = weights_.find(name);
    JERICHO_CHECK(found != weights_.end(), "{}", name);
    return found->second;
  }
  [[nodiscard]] const Row& vector(const std::string& name) const { return matrix(name).values; }

 private:
  TestDirectory directory_;
  std::map<std::string, DoubleMatrix> weights_;
};

}  // namespace jericho
