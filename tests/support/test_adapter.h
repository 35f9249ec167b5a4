// For tests only: PEFT folders of random matrices for a model's modules. Start at write_adapter().
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/adapter_file.h"
#include "formats/safetensors_writer.h"
#include "models/adapter.h"

namespace jericho {

struct TestAdapterOptions {
  Index rank = 8;
  double alpha = 16;
  unsigned seed = 1;
  bool zero_b = false;
  DType dtype = DType::kF32;
  // Of DoRA: the magnitude of row n of a module; not set: LoRA.
  std::function<float(const std::string& path, Index n)> magnitude{};
  std::function<bool(const std::string& path)> targets = [](const std::string&) { return true; };
};

struct TestModule {
  std::string path{};
  Index rank = 0, in = 0, out = 0;
  std::vector<float> a{}, b{}, magnitude{};
};

// The modules of the list, whole ones where several weights are parts of one.
inline std::vector<TestModule> random_adapter(const ModelConfig& config, const TestAdapterOptions& options) {
  std::vector<TestModule> modules;
  std::mt19937 random(options.seed);
  std::uniform_real_distribution<float> uniform(-0.25f, 0.25f);
  AdapterWeights views;
  visit_adaptable(config, views, [&](const WeightSpec& spec, LowRankWeight&, std::size_t) {
    TestModule m{.path = module_path(spec), .rank = options.rank, .in = spec.cols};
    if (!options.targets(m.path) || (!modules.empty() && modules.back().path == m.path)) return;
    const Index whole = spec.hugging_face.parts.front().tensor_rows;
    m.out = whole > 0 ? whole : spec.rows;
    const auto draw = [&](Index count) {
      std::vector<float> values(static_cast<std::size_t>(count));
      for (float& value : values) value = uniform(random);
      return values;
    };
    m.a = draw(m.rank * m.in);
    m.b = options.zero_b ? std::vector<float>(static_cast<std::size_t>(m.out * m.rank), 0.0f) : draw(m.out * m.rank);
    for (Index n = 0; options.magnitude && n < m.out; ++n) m.magnitude.push_back(options.magnitude(m.path, n));
    modules.push_back(std::move(m));
  });
  return modules;
}

inline std::filesystem::path write_adapter(const std::filesystem::path& folder, const std::vector<TestModule>& modules,
                                           const TestAdapterOptions& options) {
  std::filesystem::create_directories(folder);
  AdapterSettings settings;
  settings.rank = options.rank;
  settings.alpha = options.alpha;
  settings.dora = static_cast<bool>(options.magnitude);
  std::ofstream(folder / kAdapterConfig) << to_json(settings).dump();
  SafetensorsWriter writer;
  const auto each = [&](const auto& tensor) {
    for (const TestModule& m : modules) {
      tensor(lora_a_name(m.path), std::vector<Index>{m.rank, m.in}, m.a);
      tensor(lora_b_name(m.path), std::vector<Index>{m.out, m.rank}, m.b);
      if (options.magnitude) tensor(lora_magnitude_name(m.path), std::vector<Index>{m.out}, m.magnitude);
    }
  };
  each([&](const std::string& name, const std::vector<Index>& shape, const std::vector<float>&) {
    writer.add_tensor(name, options.dtype, shape);
  });
  std::ofstream out(folder / kAdapterTensors, std::ios::binary);
  writer.begin(out);
  each([&](const std::string&, const std::vector<Index>&, const std::vector<float>& values) {
    std::vector<std::byte> bytes(storage_bytes(options.dtype, std::ssize(values)).size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (options.dtype == DType::kF32) std::memcpy(bytes.data() + 4 * i, &values[i], 4);
      if (options.dtype == DType::kBF16) {
        const BF16 half = to_bf16(values[i]);
        std::memcpy(bytes.data() + 2 * i, &half, 2);
      }
    }
    writer.append(bytes);
  });
  return folder;
}

inline std::filesystem::path write_adapter(const std::filesystem::path& folder, const ModelConfig& config,
                                           const TestAdapterOptions& options) {
  return write_adapter(folder, random_adapter(config, options), options);
}

}  // namespace jericho
