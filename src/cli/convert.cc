// jericho convert: a model from one format into another, its types changed where asked. Parses the flags, keeps the
// books, calls convert/convert.h.
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "cli/progress.h"
#include "cli/speeds.h"
#include "cli/streaming_books.h"
#include "cli/verbs.h"
#include "convert/convert.h"
#include "engine/adapters.h"
#include "formats/model_file.h"
#include "kernels/kernels.h"
#include "memory/arena.h"
#include "memory/io.h"
#include "memory/process_memory.h"
#include "models/families.h"

namespace jericho::cli {
namespace {

struct Options {
  std::string input{};
  std::string output{};
  std::string type{};
  std::vector<std::string> adapters{};
  StreamingOptions streaming{};
  bool json = false;
};

TypeMix parse_type(const std::string& name) {
  const auto mix = TypeMix::named(name);
  if (!mix) throw Error(ErrorKind::kUsage, fmt::format("--type {}: expected one of {}", name, TypeMix::names()));
  return *mix;
}

int convert(const Options& options, const std::stop_token& stop) {
  std::optional<TypeMix> mix;
  if (!options.type.empty()) mix = parse_type(options.type);
  const std::unique_ptr<ModelFile> file = open_model(options.input);
  std::optional<StreamingBooks> books;  // outlives what is leased from it
  std::optional<AdapterSet> adapters;
  if (!options.adapters.empty()) {
    std::vector<AdapterChoice> choices;
    for (const std::string& adapter : options.adapters) choices.push_back(parse_adapter_choice(adapter));
    adapters.emplace(choices, read_config(*file), file->format());
  }
  Conversion conversion(*file, {.output = options.output, .mix = mix, .adapters = adapters ? &*adapters : nullptr});
  ThreadPool pool(options.streaming.chosen_threads());
  const AdapterShape shape = adapters ? adapters->shape(conversion.layout(), pool.threads()) : AdapterShape{};
  const std::unique_ptr<IoBackend> input = make_io_backend();
  const std::unique_ptr<IoBackend> output = make_io_backend();
  books.emplace(options.streaming, "the conversion", conversion.heap_bytes(), conversion.buffer_bytes(pool.threads()),
                shape.bytes + arena_bytes(shape.staging));
  const Context context{books->ledger(), pool, kernels_for(chosen_cpu_path())};
  const auto start = std::chrono::steady_clock::now();
  if (adapters) {
    adapters->load(context, conversion.config(), conversion.layout(), file.get(), *input, stop);
    fmt::print(stderr, "{}", adapters->describe());
  }
  {
    Progress progress("converting " + options.input);
    conversion.run(context, {*input, *output}, books->buffers(), stop,
                   [&](Bytes done, Bytes total) { progress.update(done.count, total.count); });
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const Speeds speeds(pool.threads(), context.kernels.path);
  const auto of = speeds.disk(conversion.bytes_read(), conversion.bytes(), seconds);
  for (const std::string& note : conversion.notes()) fmt::print(stderr, "note: {}\n", note);
  const Bytes peak = read_process_memory().peak_rss;
  if (options.json) {
    const nlohmann::json out = {{"output", options.output},
                                {"format", conversion.target() == ModelFormat::kGguf ? "gguf" : "huggingface"},
                                {"tensors", conversion.tensors().size()},
                                {"bytes", conversion.bytes().count},
                                {"seconds", seconds},
                                {"of_roof", to_json(of)},
                                {"peak_bytes", peak.count},
                                {"notes", conversion.notes()}};
    fmt::print("{}\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    const double written = static_cast<double>(conversion.bytes().count) / 1e9;
    fmt::print("{}: {} tensors, {} in {:.1f} s, {:.2f} GB/s written{}; peak memory {}\n", options.output,
               conversion.tensors().size(), format_bytes(conversion.bytes()), seconds,
               seconds > 0 ? written / seconds : 0, of ? ", " + of_roof(of) : "", format_bytes(peak));
    fmt::print(stderr, "{}", speeds.hint());
  }
  return 0;
}

}  // namespace

void add_convert(CLI::App& app, Run& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("convert", "Write a model in another format, or in other types");
  verb->add_option("IN", options->input, "a .gguf file or a Hugging Face directory")->required();
  verb->add_option("OUT", options->output, "NAME.gguf, or a directory to be made; never overwritten")->required();
  verb->add_option("--type", options->type,
                   "type of the matrices, or a mix: F32, F16, BF16, Q8_0, Q4_0, Q4_K_M, ... (kept when not given)");
  verb->add_option("--adapter", options->adapters,
                   "FOLDER[:SCALE] with a low-rank adapter to merge into the matrices; may be given again");
  options->streaming.add_flags(*verb);
  verb->add_flag("--json", options->json, "the result as JSON");
  verb->callback(
      [options, &chosen] { chosen = [options](const std::stop_token& stop) { return convert(*options, stop); }; });
}

}  // namespace jericho::cli
