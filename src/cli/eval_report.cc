// Figures as text and JSON: see eval_report.h.
#include "cli/eval_report.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include <fmt/format.h>

#include "cli/speeds.h"

namespace jericho::cli {
namespace {

double gib(Bytes bytes) { return static_cast<double>(bytes.count) * 0x1p-30; }

std::string with_error(const Estimate& value) {
  return fmt::format("{:.4f} +/- {:.4f}", value.mean, value.standard_error);
}

std::string lines_of(const Perplexity& p, bool per_document, Index context) {
  std::string text =
      fmt::format("perplexity      {:.4f} +/- {:.4f}\nnll per token   {:.6f} +/- {:.6f} nats\nbits per byte   {:.4f}\n",
                  p.ppl, p.ppl_stderr, p.nll.mean, p.nll.standard_error, p.bits_per_byte);
  text += fmt::format("scored          {} tokens in {} {} {}\n", p.tokens, p.passages,
                      per_document ? "documents, each of at most" : "windows of", context);
  if (!p.divergence) return text;
  return text + fmt::format("KL(reference)   {:.6f} +/- {:.6f} nats per token\nsame top token  {:.2f} +/- {:.2f} %\n",
                            p.divergence->kl.mean, p.divergence->kl.standard_error, 100 * p.divergence->top1.mean,
                            100 * p.divergence->top1.standard_error);
}

std::string lines_of(const ChoiceAccuracy& a, Index context) {
  std::string text =
      fmt::format("acc             {}\nacc_norm        {}   per character\nacc_token       {}   per token\n",
                  with_error(a.acc), with_error(a.acc_norm), with_error(a.acc_token));
  text += fmt::format("chance          {:.4f}\ngold            {} nats, the right choice's log-likelihood\n", a.chance,
                      with_error(a.gold));
  return text + fmt::format("scored          {} questions, {} choices; cut at the left to {} tokens: {} questions\n",
                            a.questions, a.choices, context, a.truncated);
}

struct Row {
  std::vector<std::string> cells{};
  bool failed = false;  // the last cell is a message and takes no part in the columns' widths
};

std::string aligned(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.front().cells.size());
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.cells.size() - (row.failed ? 1 : 0); ++i)
      widths[i] = std::max(widths[i], row.cells[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      if (i == 0 || row.failed)
        text += fmt::format("{}{:<{}}", i == 0 ? "" : "  ", row.cells[i], i == 0 ? widths[i] : 0);
      else
        text += fmt::format("  {:>{}}", row.cells[i], widths[i]);
    }
    text += '\n';
  }
  return text;
}

// Of the qualities those a table has room for; a report of one model and the JSON have all.
std::vector<Quality> tabled_qualities(const ModelResult& result) {
  std::vector<Quality> list = qualities(result);
  std::erase_if(list, [](const Quality& quality) { return quality.name.starts_with("acc_norm"); });
  return list;
}

// A model without any idea of the text has a perplexity of many digits.
std::string perplexity_of(const Perplexity& p) {
  return p.ppl < 1e6 ? fmt::format("{:.4f} +/- {:.4f}", p.ppl, p.ppl_stderr)
                     : fmt::format("{:.4g} +/- {:.4g}", p.ppl, p.ppl_stderr);
}

Row header(const ModelResult& result) {
  Row row{{"model", "weights GiB", "memory GiB"}};
  const auto add = [&](std::initializer_list<const char*> names) {
    row.cells.insert(row.cells.end(), names.begin(), names.end());
  };
  if (result.perplexity) add({"perplexity", "bits/byte", "compression"});
  if (result.accuracy) add({"acc", "acc_norm"});
  for (const Quality& quality : tabled_qualities(result)) {
    row.cells.push_back(quality.name + "/GiB weights");
    if (!result.has_reference) row.cells.push_back("/GiB memory");
  }
  if (result.has_reference) add({"KL(reference)", "same top %"});
  return row;
}

Row cells(const ModelResult& result) {
  if (result.failure) {
    const std::string message = result.failure->what();
    return {{result.model, "failed: " + message.substr(0, message.find('\n'))}, true};
  }
  Row row{{result.model, fmt::format("{:.4g}", gib(result.weights)), fmt::format("{:.4g}", gib(result.memory))}};
  if (const auto& p = result.perplexity) {
    row.cells.push_back(perplexity_of(*p));
    row.cells.push_back(fmt::format("{:.4f}", p->bits_per_byte));
    row.cells.push_back(fmt::format("{:.4f}", 8 / p->bits_per_byte));
  }
  if (const auto& a = result.accuracy) {
    row.cells.push_back(with_error(a->acc));
    row.cells.push_back(with_error(a->acc_norm));
  }
  for (const Quality& quality : tabled_qualities(result)) {
    row.cells.push_back(fmt::format("{:.4g}", per_gib(quality.value, result.weights)));
    if (!result.has_reference) row.cells.push_back(fmt::format("{:.4g}", per_gib(quality.value, result.memory)));
  }
  if (result.has_reference) {
    const Divergence& divergence = *result.perplexity->divergence;
    row.cells.push_back(fmt::format("{:.6f} +/- {:.6f}", divergence.kl.mean, divergence.kl.standard_error));
    row.cells.push_back(fmt::format("{:.2f}", 100 * divergence.top1.mean));
  }
  return row;
}

struct Difference {
  const ModelResult* model = nullptr;
  const ModelResult* against = nullptr;
  PairedDifference acc{};
  PairedDifference acc_norm{};
};

std::vector<Difference> differences(std::span<const ModelResult> results) {
  std::vector<Difference> list;
  const ModelResult* base = nullptr;
  for (const ModelResult& result : results) {
    if (!result.accuracy) continue;
    if (base != nullptr) {
      list.push_back({&result, base, paired_difference(result.accuracy->right, base->accuracy->right),
                      paired_difference(result.accuracy->right_norm, base->accuracy->right_norm)});
    } else {
      base = &result;
    }
  }
  return list;
}

std::string described(const PairedDifference& difference) {
  return fmt::format("{:+.4f} +/- {:.4f} ({})", difference.accuracy.mean, difference.accuracy.standard_error,
                     difference.significant ? "significant at 5 %" : "not significant");
}

// What a reader of the rows would get wrong without being told.
std::string remarks(std::span<const ModelResult> results) {
  std::string text;
  const ModelResult* first = nullptr;
  bool same_tokens = true;
  for (const ModelResult& result : results) {
    if (result.accuracy && result.accuracy->truncated > 0) {
      text += fmt::format("{}: {} of {} questions were cut at the left to {} tokens\n", result.model,
                          result.accuracy->truncated, result.accuracy->questions, result.context);
    }
    if (!result.perplexity) continue;
    if (first == nullptr) first = &result;
    same_tokens &= result.context == first->context && result.perplexity->tokens == first->perplexity->tokens &&
                   result.perplexity->bytes == first->perplexity->bytes;
  }
  if (!same_tokens)
    text += "perplexities are of different tokens or windows: compare bits per byte, and give one -c to all\n";
  return text;
}

nlohmann::json json_of(const PairedDifference& difference) {
  return {{"mean", difference.accuracy.mean},
          {"stderr", difference.accuracy.standard_error},
          {"significant", difference.significant}};
}

void add_figures(const Perplexity& p, bool per_document, nlohmann::json& json) {
  json.update({{"ppl", p.ppl},
               {"ppl_stderr", p.ppl_stderr},
               {"nll_per_token", p.nll.mean},
               {"bits_per_byte", p.bits_per_byte},
               {"tokens", p.tokens},
               {"bytes", p.bytes},
               {per_document ? "documents" : "windows", p.passages}});
  if (!p.divergence) return;
  json["kl"] = p.divergence->kl.mean;
  json["kl_stderr"] = p.divergence->kl.standard_error;
  json["top1_agreement"] = p.divergence->top1.mean;
}

void add_figures(const ChoiceAccuracy& a, nlohmann::json& json) {
  json.update({{"acc", a.acc.mean},
               {"acc_stderr", a.acc.standard_error},
               {"acc_norm", a.acc_norm.mean},
               {"acc_norm_stderr", a.acc_norm.standard_error},
               {"acc_token", a.acc_token.mean},
               {"acc_token_stderr", a.acc_token.standard_error},
               {"gold_log_likelihood", a.gold.mean},
               {"gold_log_likelihood_stderr", a.gold.standard_error},
               {"chance", a.chance},
               {"questions", a.questions},
               {"choices", a.choices},
               {"truncated", a.truncated}});
}

}  // namespace

std::string report(const ModelResult& result) {
  std::string text = result.perplexity ? lines_of(*result.perplexity, result.per_document, result.context)
                                       : lines_of(*result.accuracy, result.context);
  text += fmt::format("speed           {:.1f} tok/s{}\n", result.tokens_per_second, after_speed(result.held));
  text += fmt::format("weights         {:.4g} GiB\n", gib(result.weights));
  text +=
      fmt::format("peak memory     {:.4g} GiB{}\n", gib(result.memory), result.has_reference ? ", both models" : "");
  for (const Quality& quality : qualities(result)) {
    text += fmt::format("{} {:.4f}: {:.4g} per GiB of weights", quality.name, quality.value,
                        per_gib(quality.value, result.weights));
    if (!result.has_reference)
      text += fmt::format(", {:.4g} per GiB of peak memory", per_gib(quality.value, result.memory));
    text += '\n';
  }
  return text;
}

std::string table(std::span<const ModelResult> results) {
  const auto sound =
      std::find_if(results.begin(), results.end(), [](const ModelResult& result) { return !result.failure; });
  std::vector<Row> rows = {sound != results.end() ? header(*sound) : Row{{"model"}}};
  for (const ModelResult& result : results) rows.push_back(cells(result));
  std::string text = aligned(rows);
  if (sound != results.end() && sound->accuracy) {
    text += fmt::format("{} questions, {} choices, chance {:.4f}\n", sound->accuracy->questions,
                        sound->accuracy->choices, sound->accuracy->chance);
  }
  for (const Difference& difference : differences(results)) {
    text += fmt::format("{} less {}: acc {}, acc_norm {}\n", difference.model->model, difference.against->model,
                        described(difference.acc), described(difference.acc_norm));
  }
  return text + remarks(results);
}

nlohmann::json to_json(const ModelResult& result) {
  nlohmann::json json = {{"model", result.model}};
  if (result.failure) {
    json["error"] = result.failure->what();
    return json;
  }
  if (result.perplexity) add_figures(*result.perplexity, result.per_document, json);
  if (result.accuracy) add_figures(*result.accuracy, json);
  json["context"] = result.context;
  json["tokens_per_second"] = result.tokens_per_second;
  json["of_roof"] = to_json(result.held);
  json["weights_bytes"] = result.weights.count;
  json["peak_memory_bytes"] = result.memory.count;
  for (const Quality& quality : qualities(result)) {
    json["per_gib"]["weights"][quality.name] = per_gib(quality.value, result.weights);
    if (!result.has_reference) json["per_gib"]["memory"][quality.name] = per_gib(quality.value, result.memory);
  }
  json["memory"] = result.memory_json;
  return json;
}

nlohmann::json to_json(std::span<const ModelResult> results) {
  nlohmann::json json = {{"models", nlohmann::json::array()}, {"differences", nlohmann::json::array()}};
  for (const ModelResult& result : results) json["models"].push_back(to_json(result));
  for (const Difference& difference : differences(results)) {
    json["differences"].push_back({{"model", difference.model->model},
                                   {"against", difference.against->model},
                                   {"acc", json_of(difference.acc)},
                                   {"acc_norm", json_of(difference.acc_norm)}});
  }
  return json;
}

}  // namespace jericho::cli
