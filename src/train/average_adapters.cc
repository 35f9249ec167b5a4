// Module by module: see average_adapters.h.
#include "train/average_adapters.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "convert/output_file.h"
#include "formats/safetensors_writer.h"
#include "kernels/packed_matrix.h"

namespace jericho {
namespace {

void require_same(const AdapterFile& first, const AdapterFile& other, AdapterMode mode) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kInput, fmt::format("{}: {}; adapters of one base and one setting are averaged",
                                               other.folder().string(), what));
  };
  if (other.settings().dora != first.settings().dora) refuse("is of DoRA as the first is not, or the other way round");
  if (other.modules().size() != first.modules().size())
    refuse(fmt::format("adapts {} modules, the first {}", other.modules().size(), first.modules().size()));
  for (std::size_t i = 0; i < first.modules().size(); ++i) {
    const AdapterModule &a = first.modules()[i], &b = other.modules()[i];
    if (a.path != b.path) refuse(fmt::format("adapts '{}' where the first adapts '{}'", b.path, a.path));
    if (a.in() != b.in() || a.out() != b.out())
      refuse(fmt::format("module '{}' is [{}, {}], of the first [{}, {}]", a.path, b.out(), b.in(), a.out(), a.in()));
    if (mode == AdapterMode::kStack) continue;
    if (a.rank() != b.rank() || a.scale != b.scale) {
      refuse(fmt::format("module '{}' has rank {} and scale {}, of the first {} and {}: --mode stack takes both",
                         a.path, b.rank(), b.scale, a.rank(), a.scale));
    }
  }
}

}  // namespace

AdapterMode parse_adapter_mode(const std::string& text) {
  if (text == "stack") return AdapterMode::kStack;
  if (text == "freeze-a") return AdapterMode::kFreezeA;
  if (text == "avg") return AdapterMode::kAverage;
  throw Error(ErrorKind::kUsage, fmt::format("--mode {}: expected stack, freeze-a or avg", text));
}

AdapterAverage::AdapterAverage(std::vector<Client> clients, AdapterMode mode)
    : clients_(std::move(clients)), mode_(mode) {
  for (const Client& client : clients_) {
    if (!(client.samples > 0 && std::isfinite(client.samples))) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("{}:{}: expected a number of samples above 0", client.model.string(), client.samples));
    }
    samples_ += client.samples;
    files_.push_back(std::make_unique<AdapterFile>(client.model));
    require_same(*files_.front(), *files_.back(), mode);
  }
  if (files_.empty()) throw Error(ErrorKind::kUsage, "no adapter to average");
  if (mode == AdapterMode::kStack && files_.front()->settings().dora) {
    throw Error(
        ErrorKind::kUnsupported,
        fmt::format("{}: rows of DoRA are scaled after they are added, so its adapters do not stack; --mode avg",
                    files_.front()->folder().string()));
  }
}

float AdapterAverage::share(std::size_t client) const {
  return static_cast<float>(clients_[client].samples / samples_);
}

Index AdapterAverage::rank(std::size_t module) const {
  if (mode_ != AdapterMode::kStack) return files_.front()->modules()[module].rank();
  Index sum = 0;
  for (const auto& file : files_) sum += file->modules()[module].rank();
  return sum;
}

Index AdapterAverage::parameters() const {
  Index count = 0;
  const std::vector<AdapterModule>& modules = files_.front()->modules();
  for (std::size_t i = 0; i < modules.size(); ++i) {
    count += rank(i) * (modules[i].in() + modules[i].out()) + (modules[i].magnitude ? modules[i].out() : 0);
  }
  return count;
}

// Of the largest tensor of any client.
Bytes AdapterAverage::part_bytes() const {
  Index most = 0;
  for (const auto& file : files_) {
    for (const AdapterModule& m : file->modules())
      most = std::max({most, m.rank() * std::max(m.in(), m.out()), m.out()});
  }
  return round_up(Bytes{4 * most}, 64_B);
}

Bytes AdapterAverage::buffer_bytes() const {
  Index most = 0;
  const std::vector<AdapterModule>& modules = files_.front()->modules();
  for (std::size_t i = 0; i < modules.size(); ++i)
    most = std::max({most, rank(i) * std::max(modules[i].in(), modules[i].out()), modules[i].out()});
  return round_up(Bytes{4 * most}, 64_B) + part_bytes() * 2;
}

void AdapterAverage::read(const TensorInfo& tensor, std::size_t client, std::span<std::byte> staging,
                          std::span<float> to) const {
  const AdapterFile& file = *files_[client];
  const std::span<std::byte> bytes = staging.first(tensor.size.size());
  file.read(tensor, {}, bytes);
  dequantize_file_row(tensor.dtype, tensor.elements(), bytes.data(), to.data());
  for (Index i = 0; i < tensor.elements(); ++i) {
    if (!std::isfinite(to[static_cast<std::size_t>(i)])) {
      throw Error(ErrorKind::kInput,
                  fmt::format("{}: tensor '{}': value {} is no number", file.folder().string(), tensor.name, i));
    }
  }
}

AdapterSettings AdapterAverage::settings() const {
  AdapterSettings settings = files_.front()->settings();
  settings.dropout = 0;
  if (mode_ != AdapterMode::kStack) return settings;
  settings.rslora = false;
  settings.rank_pattern.clear();
  settings.alpha_pattern.clear();
  settings.rank = rank(0);
  settings.alpha = static_cast<double>(settings.rank);  // scale 1
  for (std::size_t i = 0; i < files_.front()->modules().size(); ++i) {
    if (rank(i) == settings.rank) continue;
    std::string pattern;  // an expression that means its characters
    for (const char c : files_.front()->modules()[i].path) pattern += c == '.' ? "\\." : std::string(1, c);
    settings.rank_pattern.emplace_back(pattern, rank(i));
    settings.alpha_pattern.emplace_back(pattern, static_cast<double>(rank(i)));
  }
  return settings;
}

void AdapterAverage::write(const std::filesystem::path& output, std::span<std::byte> buffers,
                           const std::stop_token& stop) {
  UnfinishedOutput unfinished(output);
  std::error_code failure;
  std::filesystem::create_directory(unfinished.path(), failure);
  if (failure) throw Error(ErrorKind::kIo, fmt::format("{}: {}", output.string(), failure.message()));
  const std::vector<AdapterModule>& modules = files_.front()->modules();
  SafetensorsWriter writer;
  writer.set_metadata("format", "pt");
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const AdapterModule& m = modules[i];
    writer.add_tensor(lora_a_name(m.path), DType::kF32, {rank(i), m.in()});
    writer.add_tensor(lora_b_name(m.path), DType::kF32, {m.out(), rank(i)});
    if (m.magnitude) writer.add_tensor(lora_magnitude_name(m.path), DType::kF32, {m.out()});
  }
  OutputFile out(unfinished.path() / kAdapterTensors);
  writer.begin(out.stream());
  // The result, one client's tensor as it is stored, and its values.
  const std::size_t part = part_bytes().size(), rest = buffer_bytes().size() - 2 * part;
  const std::span<float> result(reinterpret_cast<float*>(buffers.data()), rest / 4);
  const std::span<std::byte> staging = buffers.subspan(rest, part);
  const std::span<float> values(reinterpret_cast<float*>(buffers.data() + rest + part), part / 4);
  const auto average = [&](std::size_t i, auto tensor_of) {
    const Index count = tensor_of(modules[i]).elements();
    std::fill_n(result.begin(), count, 0.0f);
    for (std::size_t k = 0; k < files_.size(); ++k) {
      read(tensor_of(files_[k]->modules()[i]), k, staging, values);
      for (std::size_t e = 0; e < static_cast<std::size_t>(count); ++e)
        result[e] = std::fma(share(k), values[e], result[e]);
    }
    writer.append(std::as_bytes(result.first(static_cast<std::size_t>(count))));
  };
  const auto a_of = [](const AdapterModule& m) -> const TensorInfo& { return m.a; };
  const auto b_of = [](const AdapterModule& m) -> const TensorInfo& { return m.b; };
  for (std::size_t i = 0; i < modules.size(); ++i) {
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "interrupted");
    const AdapterModule& m = modules[i];
    const Index r = rank(i);
    if (mode_ == AdapterMode::kAverage) {
      average(i, a_of);
    } else if (mode_ == AdapterMode::kFreezeA) {
      const auto count = static_cast<std::size_t>(m.a.elements());
      read(m.a, 0, staging, result);
      for (std::size_t k = 1; k < files_.size(); ++k) {
        read(files_[k]->modules()[i].a, k, staging, values);
        if (std::memcmp(values.data(), result.data(), 4 * count) != 0) {
          throw Error(ErrorKind::kInput,
                      fmt::format("{}: tensor '{}' is not that of the first client; adapters whose A was trained are "
                                  "averaged by --mode stack, exactly, or by avg",
                                  files_[k]->folder().string(), m.a.name));
        }
      }
      writer.append(std::as_bytes(result.first(count)));
    } else {
      Index row = 0;
      for (std::size_t k = 0; k < files_.size(); ++k) {
        const AdapterModule& own = files_[k]->modules()[i];
        read(own.a, k, staging, result.subspan(static_cast<std::size_t>(row * m.in())));
        row += own.rank();
      }
      writer.append(std::as_bytes(result.first(static_cast<std::size_t>(r * m.in()))));
    }
    if (mode_ != AdapterMode::kStack) {
      average(i, b_of);
    } else {
      Index column = 0;
      for (std::size_t k = 0; k < files_.size(); ++k) {
        const AdapterModule& own = files_[k]->modules()[i];
        read(own.b, k, staging, values);
        const float factor = static_cast<float>(clients_[k].samples / samples_ * own.scale);
        for (Index n = 0; n < m.out(); ++n) {
          for (Index c = 0; c < own.rank(); ++c) {
            result[static_cast<std::size_t>(n * r + column + c)] =
                factor * values[static_cast<std::size_t>(n * own.rank() + c)];
          }
        }
        column += own.rank();
      }
      writer.append(std::as_bytes(result.first(static_cast<std::size_t>(m.out() * r))));
    }
    if (m.magnitude) average(i, [](const AdapterModule& each) -> const TensorInfo& { return *each.magnitude; });
  }
  out.close();
  write_text(unfinished.path() / kAdapterConfig, to_json(settings()).dump(2) + "\n");
  unfinished.finish();
}

}  // namespace jericho
