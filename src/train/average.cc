// One client at a time beside the sum: see average.h.
#include "train/average.h"

#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "convert/output_file.h"
#include "formats/model_file.h"
#include "models/families.h"
#include "train/model_folder.h"

namespace jericho {
namespace {

// What makes two models of the same words unequal in nothing but their values.
nlohmann::json shape_words(nlohmann::json words) {
  for (const char* key : {"torch_dtype", "_name_or_path", "transformers_version"}) words.erase(key);
  return words;
}

void require_same(const StartModel& first, const StartModel& other, const Client& client) {
  const nlohmann::json a = shape_words(first.words()), b = shape_words(other.words());
  if (a == b) return;
  for (const auto& [key, value] : a.items()) {
    if (b.value(key, nlohmann::json()) == value) continue;
    throw Error(ErrorKind::kInput,
                fmt::format("{}: has '{}' {}, the first client {}; models of one start are averaged",
                            client.model.string(), key, b.value(key, nlohmann::json()).dump(), value.dump()));
  }
  throw Error(ErrorKind::kInput, fmt::format("{}: its configuration says more than the first client's; models of one "
                                             "start are averaged",
                                             client.model.string()));
}

constexpr Index kGrain = 1 << 14;

}  // namespace

ModelAverage::ModelAverage(std::vector<Client> clients) : clients_(std::move(clients)) {
  for (const Client& client : clients_) {
    if (!(client.samples > 0 && std::isfinite(client.samples))) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("{}:{}: expected a number of samples above 0", client.model.string(), client.samples));
    }
    models_.push_back(std::make_unique<StartModel>(client.model));
    require_same(*models_.front(), *models_.back(), client);
  }
  if (models_.empty()) throw Error(ErrorKind::kUsage, "no model to average");
  layout_ = std::make_unique<TrainingLayout>(config_from_json(models_.front()->words()));
}

Bytes ModelAverage::buffer_bytes(int threads) const {
  Bytes scratch{};
  for (const auto& model : models_) scratch = std::max(scratch, model->scratch_bytes(threads));
  return round_up(scratch, 4096_B) + layout_->weight_bytes() * 2;
}

void ModelAverage::write(const Context& context, const std::filesystem::path& output, std::span<std::byte> buffers,
                         const std::stop_token& stop, const std::function<void(Index done, Index clients)>& progress) {
  UnfinishedOutput unfinished(output);
  const Index count = layout_->weight_bytes().count / 4;
  const auto values = static_cast<std::size_t>(count);
  const std::size_t scratch = buffers.size() - 8 * values;
  const std::span<float> sum(reinterpret_cast<float*>(buffers.data() + scratch), values);
  const std::span<float> one(sum.data() + values, values);
  double all = 0;
  for (const Client& client : clients_) all += client.samples;
  std::fill(sum.begin(), sum.end(), 0.0f);
  for (std::size_t k = 0; k < clients_.size(); ++k) {
    std::fill(one.begin(), one.end(), 0.0f);  // padding
    models_[k]->read(context, *layout_, 0, std::as_writable_bytes(one), buffers.first(scratch), stop);
    const auto share = static_cast<float>(clients_[k].samples / all);
    parallel_for(context.pool, count, kGrain, [&](Index begin, Index end, int) {
      for (Index i = begin; i < end; ++i) {
        const auto at = static_cast<std::size_t>(i);
        sum[at] = std::fma(share, one[at], sum[at]);
      }
    });
    if (progress) progress(static_cast<Index>(k) + 1, static_cast<Index>(clients_.size()));
  }
  std::error_code failure;
  std::filesystem::create_directory(unfinished.path(), failure);
  if (failure) throw Error(ErrorKind::kIo, fmt::format("{}: {}", output.string(), failure.message()));
  write_model_files(unfinished.path(), *layout_, std::as_bytes(sum), models_.front()->side_files());
  unfinished.finish();
}

}  // namespace jericho
