// jericho train average: one model of several that were trained apart. Start at average().
#include <charconv>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/cpu.h"
#include "base/error.h"
#include "cli/progress.h"
#include "cli/streaming_books.h"
#include "cli/train_verbs.h"
#include "kernels/kernels.h"
#include "train/average.h"
#include "train/average_adapters.h"

namespace jericho::cli {
namespace {

struct AverageOptions {
  std::vector<std::string> clients{};
  std::string output{};
  std::string mode = "stack";
  StreamingOptions streaming{};
};

// "PATH" or "PATH:SAMPLES"; what is behind a colon and no number belongs to the path.
Client parse_client(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon + 1 == text.size()) return {text};
  Client client{text.substr(0, colon)};
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data() + colon + 1, end, client.samples);
  return read.ec == std::errc() && read.ptr == end ? client : Client{text};
}

int average_adapters(const AverageOptions& options, std::vector<Client> clients, const std::stop_token& stop) {
  const std::size_t count = clients.size();
  AdapterAverage average(std::move(clients), parse_adapter_mode(options.mode));
  StreamingBooks books(options.streaming, "averaging", {}, average.buffer_bytes());
  average.write(options.output, books.buffers(), stop);
  fmt::print("{}: {} parameters, the average of {} adapters\n", options.output, average.parameters(), count);
  return 0;
}

int average(const AverageOptions& options, const std::stop_token& stop) {
  std::vector<Client> clients;
  for (const std::string& text : options.clients) clients.push_back(parse_client(text));
  std::error_code ignored;
  if (std::filesystem::exists(clients.front().model / kAdapterConfig, ignored))
    return average_adapters(options, std::move(clients), stop);
  const std::size_t count = clients.size();
  ModelAverage average(std::move(clients));
  ThreadPool pool(options.streaming.chosen_threads());
  StreamingBooks books(options.streaming, "averaging", {}, average.buffer_bytes(pool.threads()));
  const Context context{books.ledger(), pool, kernels_for(chosen_cpu_path())};
  {
    Progress progress("averaging");
    average.write(context, options.output, books.buffers(), stop,
                  [&](Index done, Index all) { progress.update(done, all); });
  }
  fmt::print("{}: {} parameters, the average of {} models\n", options.output, average.parameters(), count);
  return 0;
}

}  // namespace

void add_train_average(CLI::App& train, Run& chosen) {
  CLI::App* verb =
      train.add_subcommand("average", "Average models, or adapters, that were trained apart from one start");
  auto options = std::make_shared<AverageOptions>();
  verb->add_option("MODELS", options->clients,
                   "MODEL or MODEL:SAMPLES, its share by its number of samples [1]; adapters alike")
      ->required();
  verb->add_option("-o,--output", options->output, "FOLDER to be made")->required();
  verb->add_option("--mode", options->mode,
                   "Of adapters: stack (exact, ranks add up), freeze-a (exact where all share A), avg (biased)")
      ->capture_default_str();
  options->streaming.add_flags(*verb);
  verb->callback(
      [options, &chosen] { chosen = [options](const std::stop_token& stop) { return average(*options, stop); }; });
}

}  // namespace jericho::cli
