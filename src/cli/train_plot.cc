// jericho train plot: the curves of one or several runs as a page that stands alone, from their train.log.jsonl.
#include "cli/train_verbs.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "audit/html_page.h"
#include "audit/svg_chart.h"
#include "base/error.h"
#include "cli/write_file.h"

namespace jericho::cli {
namespace {

namespace fs = std::filesystem;

struct PlotOptions {
  std::vector<std::string> runs{};
  std::string out = "curves.html";
};

using Curve = std::map<std::int64_t, double>;  // by step; of a step that was done twice the later counts

struct RunCurves {
  std::string name{};
  std::map<std::string, Curve> of{};  // by the key of the log
};

constexpr const char* kKeys[] = {"loss", "eval_loss", "lr", "grad_norm", "tok_s"};

RunCurves read_curves(const std::string& run) {
  const fs::path log = fs::is_directory(run) ? fs::path(run) / "train.log.jsonl" : fs::path(run);
  std::ifstream file(log);
  if (!file)
    throw Error(ErrorKind::kInput,
                fmt::format("{}: cannot be read; expected the folder of a run, or its log", log.string()));
  RunCurves curves;
  const fs::path folder = fs::is_directory(run) ? fs::path(run) : log.parent_path();
  curves.name = fs::weakly_canonical(folder).filename().string();
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
    // The last line of a run that was killed may be half of one.
    if (record.is_discarded() && file.peek() == std::char_traits<char>::eof()) break;
    if (!record.is_object() || !record.contains("step") || !record["step"].is_number_integer())
      throw Error(ErrorKind::kInput, fmt::format("{}, line {}: expected an object with a step", log.string(), number));
    for (const char* key : kKeys) {
      if (record.contains(key) && record[key].is_number())
        curves.of[key][record["step"].get<std::int64_t>()] = record[key].get<double>();
    }
  }
  if (curves.of.empty()) throw Error(ErrorKind::kInput, fmt::format("{}: has no figures yet", log.string()));
  return curves;
}

// At most so many points as there is room to see: means of neighbours.
std::vector<std::pair<double, double>> thinned(const Curve& curve) {
  constexpr std::size_t kMost = 400;
  const std::size_t together = (curve.size() + kMost - 1) / kMost;
  std::vector<std::pair<double, double>> points;
  double x = 0, y = 0;
  std::size_t count = 0, left = curve.size();
  for (const auto& [step, value] : curve) {
    x += static_cast<double>(step), y += value, ++count, --left;
    if (count < together && left > 0) continue;
    points.emplace_back(x / static_cast<double>(count), y / static_cast<double>(count));
    x = y = 0, count = 0;
  }
  return points;
}

std::string chart(const std::vector<RunCurves>& runs, const std::string& title, const std::string& axis,
                  const std::vector<std::string>& keys) {
  SvgChart drawing(title, axis + " over steps", {.label = "step"}, {.label = axis});
  constexpr int kColors = 8;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (const std::string& key : keys) {
      const auto found = runs[i].of.find(key);
      if (found == runs[i].of.end()) continue;
      const bool held_out = key == "eval_loss";
      drawing.add({.name = runs[i].name + (held_out ? ", held out" : ""),
                   .points = thinned(found->second),
                   .line = true,
                   .dashed = held_out,
                   .color = static_cast<int>(i) % kColors});
    }
  }
  return drawing.html();
}

std::string last_figures(const std::vector<RunCurves>& runs) {
  std::string rows;
  for (const RunCurves& run : runs) {
    const auto last = [&](const char* key) -> std::string {
      const auto found = run.of.find(key);
      return found == run.of.end() ? "-" : fmt::format("{:.4f}", found->second.rbegin()->second);
    };
    const auto best = [&]() -> std::string {
      const auto found = run.of.find("eval_loss");
      if (found == run.of.end()) return "-";
      const auto least = std::min_element(found->second.begin(), found->second.end(),
                                          [](const auto& a, const auto& b) { return a.second < b.second; });
      return fmt::format("{:.4f} at {}", least->second, least->first);
    };
    std::int64_t steps = 0;
    for (const auto& [key, curve] : run.of) steps = std::max(steps, curve.rbegin()->first);
    rows += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", html_escaped(run.name), steps,
                        last("loss"), best());
  }
  return "<div class=\"scroll\"><table><tr><th>run</th><th>steps</th><th>loss</th><th>held-out loss, "
         "least</th></tr>\n" +
         rows + "</table></div>\n";
}

int plot(const PlotOptions& options) {
  std::vector<RunCurves> runs;
  for (const std::string& run : options.runs) runs.push_back(read_curves(run));
  std::string body = "<h1>Training curves</h1>\n" + last_figures(runs) + "<h2>Curves</h2>\n<div class=\"charts\">";
  body += chart(runs, "Loss per token", "nats", {"loss", "eval_loss"});
  body += chart(runs, "Learning rate", "learning rate", {"lr"});
  body += chart(runs, "Norm of the gradient, before clipping", "norm", {"grad_norm"});
  body += chart(runs, "Speed", "tokens per second", {"tok_s"});
  write_file_atomically(options.out, html_page("Training curves", body + "</div>\n"));
  fmt::print("{}\n", options.out);
  return 0;
}

}  // namespace

void add_train_plot(CLI::App& train, Run& chosen) {
  CLI::App* verb = train.add_subcommand("plot", "Draw the curves of runs into one page");
  auto options = std::make_shared<PlotOptions>();
  verb->add_option("RUNS", options->runs, "Folders of runs, or their train.log.jsonl")->required();
  verb->add_option("-o,--output", options->out, "FILE.html to write")->capture_default_str();
  verb->callback([options, &chosen] { chosen = [options](const std::stop_token&) { return plot(*options); }; });
}

}  // namespace jericho::cli
