// The keys of a configuration: see options.h.
#include "train/options.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <functional>
#include <set>
#include <string_view>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "base/error.h"

namespace jericho {
namespace {

using Setter = std::function<void(TrainOptions&, const YAML::Node&)>;
struct Key {
  std::string name;
  Setter set;
};

[[noreturn]] void refuse(const std::string& key, const std::string& found, const std::string& expected) {
  throw Error(ErrorKind::kUsage, fmt::format("{}: expected {}, found '{}'", key, expected, found));
}

template <class T>
Key value(std::string name, T TrainOptions::*member, const char* expected) {
  return {name, [name, member, expected](TrainOptions& options, const YAML::Node& node) {
            try {
              options.*member = node.as<T>();
            } catch (const YAML::Exception&) {
              refuse(name, node.IsScalar() ? node.Scalar() : "a list or a map", expected);
            }
          }};
}

template <class S, class T>
Key value(std::string name, S TrainOptions::*part, T S::*member, const char* expected) {
  return {name, [name, part, member, expected](TrainOptions& options, const YAML::Node& node) {
            try {
              options.*part.*member = node.as<T>();
            } catch (const YAML::Exception&) {
              refuse(name, node.IsScalar() ? node.Scalar() : "a list or a map", expected);
            }
          }};
}

Key path(std::string name, std::filesystem::path TrainOptions::*member) {
  return {name, [name, member](TrainOptions& options, const YAML::Node& node) {
            if (!node.IsScalar()) refuse(name, "a list or a map", "a path");
            options.*member = node.Scalar();
          }};
}

Key paths(std::string name, std::vector<std::string> TrainOptions::*member) {
  return {name, [name, member](TrainOptions& options, const YAML::Node& node) {
            std::vector<std::string>& files = options.*member;
            files.clear();
            if (node.IsScalar()) files.push_back(node.Scalar());
            if (node.IsMap()) refuse(name, "a map", "a path or a list of paths");
            if (!node.IsSequence()) return;
            for (const YAML::Node& each : node) files.push_back(each.as<std::string>());
          }};
}

// The meaning of a node that is one of these words.
template <class T>
T chosen(const std::string& key, const YAML::Node& node, const std::vector<std::pair<std::string, T>>& choices) {
  const std::string found = node.IsScalar() ? node.Scalar() : "a list or a map";
  std::string names;
  for (const auto& [word, meaning] : choices) {
    if (word == found) return meaning;
    names += (names.empty() ? "" : ", ") + word;
  }
  refuse(key, found, "one of " + names);
}

template <class T>
Key choice(std::string name, T TrainOptions::*member, std::vector<std::pair<std::string, T>> choices) {
  return {name, [name, member, choices](TrainOptions& options, const YAML::Node& node) {
            options.*member = chosen(name, node, choices);
          }};
}

template <class S, class T>
Key choice(std::string name, S TrainOptions::*part, T S::*member, std::vector<std::pair<std::string, T>> choices) {
  return {name, [name, part, member, choices](TrainOptions& options, const YAML::Node& node) {
            options.*part.*member = chosen(name, node, choices);
          }};
}

template <class T>
Setter adapter_key(std::string name, T AdapterTraining::*member, const char* expected) {
  return [name, member, expected](TrainOptions& options, const YAML::Node& node) {
    try {
      options.adapter.training.*member = node.as<T>();
    } catch (const YAML::Exception&) {
      refuse(name, node.IsScalar() ? node.Scalar() : "a list or a map", expected);
    }
  };
}

// A method brings values of its own, as a rule of the optimizer does: what its paper or its users take.
void set_method(TrainOptions& options, const std::string& method) {
  static const std::set<std::string> known = {"full", "lora", "rslora", "dora", "qlora"};
  if (!known.contains(method)) refuse("method", method, "full, lora, rslora, dora or qlora");
  options.adapter.method = method;
  if (!options.adapter.any()) return;
  options.adapter.training.rslora = method == "rslora";
  options.adapter.training.dora = method == "dora";
  options.adapter.base = method == "qlora" ? BaseForm::kNf4 : BaseForm::kAsStored;
  options.schedule.peak = 2e-4;
  options.optimizer.weight_decay = 0;
}

const std::vector<Key>& keys() {
  static const std::vector<Key> all = [] {
    const char* number = "a number";
    const char* count = "a whole number";
    const std::vector<std::pair<std::string, DType>> weight_types = {
        {"f32", DType::kF32}, {"bf16", DType::kBF16}, {"int8", DType::kQC8}};
    const std::vector<std::pair<std::string, BaseForm>> base_forms = {{"stored", BaseForm::kAsStored},
                                                                      {"nf4", BaseForm::kNf4}};
    using O = TrainOptions;
    return std::vector<Key>{
        path("output", &O::output),
        path("start", &O::start),
        path("tokenizer", &O::tokenizer),
        paths("data.train", &O::train_files),
        paths("data.valid", &O::valid_files),
        value("data.separator", &O::separator, "text"),
        path("data.template", &O::chat_template),
        choice<TrainOn>(
            "data.train_on", &O::train_on,
            {{"assistant", TrainOn::kAssistant}, {"last-assistant", TrainOn::kLastAssistant}, {"all", TrainOn::kAll}}),
        choice<DataMode>("data.mode", &O::mode, {{"documents", DataMode::kDocuments}, {"stream", DataMode::kStream}}),
        value("data.separate_documents", &O::separate_documents, "true or false"),
        value("data.sequence_tokens", &O::sequence_tokens, count),
        value("batch.sequences", &O::step_sequences, count),
        value("batch.micro_sequences", &O::micro_sequences, "a whole number, 0: as many as fit"),
        value("steps", &O::steps, count),
        value("epochs", &O::epochs, number),
        value("schedule.shape", &O::schedule, &Schedule::shape, "cosine, linear, constant or wsd"),
        value("schedule.peak", &O::schedule, &Schedule::peak, number),
        value("schedule.warmup", &O::schedule, &Schedule::warmup, count),
        value("schedule.min_ratio", &O::schedule, &Schedule::min_ratio, number),
        value("schedule.decay", &O::schedule, &Schedule::decay, count),
        value("schedule.decay_shape", &O::schedule, &Schedule::decay_shape, "linear, 1-sqrt or cosine"),
        {"method",
         [](TrainOptions& options, const YAML::Node& node) {
           set_method(options, node.IsScalar() ? node.Scalar() : "a list or a map");
         }},
        {"adapter.rank", adapter_key("adapter.rank", &AdapterTraining::rank, count)},
        {"adapter.alpha", adapter_key("adapter.alpha", &AdapterTraining::alpha, number)},
        {"adapter.rslora", adapter_key("adapter.rslora", &AdapterTraining::rslora, "true or false")},
        {"adapter.dora", adapter_key("adapter.dora", &AdapterTraining::dora, "true or false")},
        {"adapter.targets", adapter_key("adapter.targets", &AdapterTraining::targets, "a list of modules")},
        choice("adapter.base", &O::adapter, &AdapterOptions::base, base_forms),
        {"optimizer.rule",
         [](TrainOptions& options, const YAML::Node& node) {
           if (!node.IsScalar()) refuse("optimizer.rule", "a list or a map", "one of " + optimizer_rules());
           options.optimizer = default_options(node.Scalar());
           if (options.optimizer.int8_weights) options.weights.projections = DType::kQC8;
         }},
        value("optimizer.beta1", &O::optimizer, &OptimizerOptions::beta1, number),
        value("optimizer.beta2", &O::optimizer, &OptimizerOptions::beta2, number),
        value("optimizer.epsilon", &O::optimizer, &OptimizerOptions::epsilon, number),
        value("optimizer.weight_decay", &O::optimizer, &OptimizerOptions::weight_decay, number),
        value("optimizer.momentum", &O::optimizer, &OptimizerOptions::momentum, number),
        value("optimizer.nesterov", &O::optimizer, &OptimizerOptions::nesterov, "true or false"),
        value("optimizer.rank", &O::optimizer, &OptimizerOptions::rank, count),
        value("optimizer.scale", &O::optimizer, &OptimizerOptions::scale, number),
        value("optimizer.refresh", &O::optimizer, &OptimizerOptions::refresh, count),
        value("optimizer.scale_parameter", &O::optimizer, &OptimizerOptions::scale_parameter, "true or false"),
        value("optimizer.relative_step", &O::optimizer, &OptimizerOptions::relative_step, "true or false"),
        value("optimizer.muon_rms", &O::optimizer, &OptimizerOptions::muon_rms, "true or false"),
        value("optimizer.adamw_rate", &O::optimizer, &OptimizerOptions::adamw_rate, number),
        value("optimizer.regular", &O::optimizer, &OptimizerOptions::regular, "the name of a rule"),
        choice("weights.projections", &O::weights, &WeightTypes::projections, weight_types),
        choice("weights.embeddings", &O::weights, &WeightTypes::embeddings, weight_types),
        value("clip", &O::clip, number),
        choice<bool>("clip_mode", &O::clip_two_passes, {{"once", false}, {"two-pass", true}}),
        choice<std::string>("fused", &O::fused, {{"on", "on"}, {"off", "off"}, {"auto", "auto"}}),
        choice<DType>("compute", &O::compute, {{"bf16", DType::kBF16}, {"f32", DType::kF32}}),
        choice<std::string>("recompute", &O::recompute,
                            {{"none", "none"}, {"block", "block"}, {"sqrt", "sqrt"}, {"auto", "auto"}}),
        value("init.std", &O::init_std, number),
        value("init.scaled", &O::init_scaled, "true or false"),
        value("seed", &O::seed, count),
        value("log.every", &O::log_every, count),
        value("eval.every", &O::eval_every, count),
        value("eval.sequences", &O::eval_sequences, count),
        value("sample.prompt", &O::sample_prompt, "text"),
        value("sample.tokens", &O::sample_tokens, count),
        value("sample.temperature", &O::sample_temperature, number),
        value("checkpoint.every", &O::save_every, count),
        value("checkpoint.keep", &O::keep_last, count),
    };
  }();
  return all;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

nlohmann::json to_json(const YAML::Node& node) {
  if (node.IsMap()) {
    nlohmann::json out = nlohmann::json::object();
    for (const auto& entry : node) out[entry.first.as<std::string>()] = to_json(entry.second);
    return out;
  }
  if (node.IsSequence()) {
    nlohmann::json out = nlohmann::json::array();
    for (const YAML::Node& each : node) out.push_back(to_json(each));
    return out;
  }
  if (node.IsNull()) return nullptr;
  if (node.Tag() == "!") return node.Scalar();  // quoted
  if (bool x = false; YAML::convert<bool>::decode(node, x)) return x;
  if (std::int64_t x = 0; YAML::convert<std::int64_t>::decode(node, x)) return x;
  if (double x = 0; YAML::convert<double>::decode(node, x)) return x;
  return node.Scalar();
}

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) throw Error(ErrorKind::kInput, fmt::format("model: {}: no such file", path.string()));
  try {
    return nlohmann::json::parse(in);
  } catch (const nlohmann::json::exception& failure) {
    throw Error(ErrorKind::kInput, fmt::format("model: {}: {}", path.string(), failure.what()));
  }
}

// A map of config.json's words, or the path of a config.json or of a directory with one.
nlohmann::json read_model(const YAML::Node& node) {
  if (node.IsMap()) return to_json(node);
  if (!node.IsScalar()) refuse("model", "a list", "a map of config.json's words, or a path");
  std::filesystem::path file = node.Scalar();
  if (std::filesystem::is_directory(file)) file /= "config.json";
  return read_json(file);
}

using Values = std::vector<std::pair<std::string, YAML::Node>>;

// Keys with their sections' names before them. Error(kUsage) names the nearest key to one that is none.
void gather(const std::string& name, const YAML::Node& node, Values& out) {
  const bool known = name == "model" || name.starts_with("model.") ||
                     std::any_of(keys().begin(), keys().end(), [&](const Key& k) { return k.name == name; });
  if (known) return out.emplace_back(name, node), void();
  const bool section =
      std::any_of(keys().begin(), keys().end(), [&](const Key& k) { return k.name.starts_with(name + "."); });
  if (section && node.IsMap()) {
    for (const auto& entry : node) gather(name + "." + entry.first.as<std::string>(), entry.second, out);
    return;
  }
  const auto nearest = std::min_element(keys().begin(), keys().end(), [&](const Key& a, const Key& b) {
    return edit_distance(a.name, name) < edit_distance(b.name, name);
  });
  throw Error(ErrorKind::kUsage,
              fmt::format("'{}' is no key of a training run; the nearest is '{}'", name, nearest->name));
}

void set(TrainOptions& options, const std::string& name, const YAML::Node& node) {
  if (name == "model") {
    options.model = read_model(node);
  } else if (name.starts_with("model.")) {
    options.model[name.substr(6)] = to_json(node);
  } else {
    std::find_if(keys().begin(), keys().end(), [&](const Key& k) { return k.name == name; })->set(options, node);
  }
}

void in_range(const char* key, double x, double least, double most) {
  if (!(x >= least && x <= most)) refuse(key, fmt::format("{}", x), fmt::format("{} to {}", least, most));
}

}  // namespace

nlohmann::json TrainOptions::identity() const {
  nlohmann::json all = {{"model", model},
                        {"start", start.empty() ? nlohmann::json() : nlohmann::json(start.string())},
                        {"tokenizer", tokenizer.string()},
                        {"train", train_files},
                        {"separator", separator},
                        {"mode", mode == DataMode::kDocuments ? "documents" : "stream"},
                        {"separate_documents", separate_documents},
                        {"sequence_tokens", sequence_tokens},
                        {"step_sequences", step_sequences},
                        {"schedule",
                         {{"shape", schedule.shape},
                          {"peak", schedule.peak},
                          {"warmup", schedule.warmup},
                          {"min_ratio", schedule.min_ratio},
                          {"decay", schedule.decay},
                          {"decay_shape", schedule.decay_shape}}},
                        {"optimizer",
                         {{"rule", optimizer.rule},
                          {"beta1", optimizer.beta1},
                          {"beta2", optimizer.beta2},
                          {"epsilon", optimizer.epsilon},
                          {"weight_decay", optimizer.weight_decay},
                          {"momentum", optimizer.momentum},
                          {"nesterov", optimizer.nesterov},
                          {"rank", optimizer.rank},
                          {"scale", optimizer.scale},
                          {"refresh", optimizer.refresh},
                          {"scale_parameter", optimizer.scale_parameter},
                          {"relative_step", optimizer.relative_step},
                          {"muon_rms", optimizer.muon_rms},
                          {"adamw_rate", optimizer.adamw_rate},
                          {"regular", optimizer.regular}}},
                        {"clip", clip},
                        {"compute", std::string(name(compute))},
                        {"init_std", init_std},
                        {"init_scaled", init_scaled},
                        {"seed", seed}};
  if (weights != WeightTypes{}) {  // checkpoints from before there was a choice have none
    all["weights"] = {{"projections", std::string(name(weights.projections))},
                      {"embeddings", std::string(name(weights.embeddings))}};
  }
  if (adapter.any()) {
    const AdapterTraining& a = adapter.training;
    all["adapter"] = {{"method", adapter.method},
                      {"rank", a.rank},
                      {"alpha", a.alpha},
                      {"rslora", a.rslora},
                      {"dora", a.dora},
                      {"targets", a.targets},
                      {"base", adapter.base == BaseForm::kNf4 ? "nf4" : "stored"}};
  }
  return all;
}

bool TrainOptions::may_fuse() const {
  return !adapter.any() && (clip == 0 || clip_two_passes) &&
         (micro_sequences == 0 || micro_sequences == step_sequences);
}

void TrainOptions::validate() const {
  const auto required = [](const char* key, bool given) {
    if (!given) throw Error(ErrorKind::kUsage, fmt::format("{}: must be given", key));
  };
  required("output", !output.empty());
  const bool has_model = model.is_object() && !model.empty();
  if (start.empty()) {
    required("tokenizer", !tokenizer.empty());
    required("model", has_model);
  } else if (!tokenizer.empty() || has_model) {
    refuse(has_model ? "model" : "tokenizer", "both", "either this or 'start', whose model brings its own");
  }
  if (adapter.any()) {
    if (start.empty()) refuse("method", adapter.method, "a model to adapt, given as 'start'");
    in_range("adapter.rank", static_cast<double>(adapter.training.rank), 2, 4096);
    if (adapter.training.rank % 2 != 0)
      refuse("adapter.rank", fmt::format("{}", adapter.training.rank), "an even number");
    in_range("adapter.alpha", adapter.training.alpha, 0, 1e6);
    if (fused == "on") refuse("fused", "on", "off or auto: the gradients of adapters are small");
    if (weights != WeightTypes{}) refuse("weights", "others than f32", "f32: adapters are fp32, the base is as stored");
  }
  required("data.train", !train_files.empty());
  in_range("data.sequence_tokens", static_cast<double>(sequence_tokens), 2, 1 << 20);
  if (sequence_tokens % 2 != 0) refuse("data.sequence_tokens", fmt::format("{}", sequence_tokens), "an even number");
  in_range("batch.sequences", static_cast<double>(step_sequences), 1, 1 << 20);
  in_range("batch.micro_sequences", static_cast<double>(micro_sequences), 0, static_cast<double>(step_sequences));
  in_range("steps", static_cast<double>(steps), 0, 1e12);
  in_range("epochs", epochs, 1e-6, 1e6);
  in_range("schedule.peak", schedule.peak, 0, 10);
  in_range("schedule.warmup", static_cast<double>(schedule.warmup), 0, 1e12);
  in_range("schedule.min_ratio", schedule.min_ratio, 0, 1);
  constexpr std::array<std::string_view, 4> kShapes = {"cosine", "linear", "constant", "wsd"};
  if (std::find(kShapes.begin(), kShapes.end(), schedule.shape) == kShapes.end())
    refuse("schedule.shape", schedule.shape, "cosine, linear, constant or wsd");
  constexpr std::array<std::string_view, 3> kDecays = {"linear", "1-sqrt", "cosine"};
  if (std::find(kDecays.begin(), kDecays.end(), schedule.decay_shape) == kDecays.end())
    refuse("schedule.decay_shape", schedule.decay_shape, "linear, 1-sqrt or cosine");
  in_range("optimizer.beta1", static_cast<double>(optimizer.beta1), 0, 1);
  in_range("optimizer.beta2", static_cast<double>(optimizer.beta2), 0, 1);
  in_range("optimizer.epsilon", static_cast<double>(optimizer.epsilon), 0, 1);
  in_range("optimizer.weight_decay", static_cast<double>(optimizer.weight_decay), 0, 1000);
  in_range("clip", static_cast<double>(clip), 0, 1e9);
  if (fused == "on" && clip > 0 && !clip_two_passes) {
    refuse("fused", "on",
           fmt::format("clip: 0, or clip_mode: two-pass (exact, twice the products), since clip: {} needs the norm of "
                       "all gradients before the first update",
                       clip));
  }
  if (fused == "on" && micro_sequences != 0 && micro_sequences != step_sequences) {
    refuse("fused", "on",
           fmt::format("batch.micro_sequences: {} (or 0), all sequences of an update at once, since a gradient that "
                       "is applied cannot be added to",
                       step_sequences));
  }
  in_range("init.std", static_cast<double>(init_std), 0, 10);
  in_range("log.every", static_cast<double>(log_every), 1, 1e12);
  in_range("eval.every", static_cast<double>(eval_every), 0, 1e12);
  in_range("sample.tokens", static_cast<double>(sample_tokens), 1, 1e6);
  in_range("sample.temperature", static_cast<double>(sample_temperature), 0, 100);
  in_range("eval.sequences", static_cast<double>(eval_sequences), 1, 1e12);
  in_range("checkpoint.every", static_cast<double>(save_every), 0, 1e12);
  in_range("checkpoint.keep", static_cast<double>(keep_last), 1, 1e6);
}

TrainOptions read_train_options(const std::filesystem::path& file, const std::vector<std::string>& sets) {
  Values values;
  with_context([&] { return file.string(); },
               [&] {
                 try {
                   const YAML::Node root = YAML::LoadFile(file.string());
                   if (!root.IsMap())
                     throw Error(ErrorKind::kInput, "expected keys and values, found a list or a single value");
                   for (const auto& entry : root) gather(entry.first.as<std::string>(), entry.second, values);
                 } catch (const YAML::BadFile&) {
                   throw Error(ErrorKind::kInput, "no such file, or it cannot be read");
                 } catch (const YAML::Exception& failure) {
                   throw Error(ErrorKind::kInput, fmt::format("is no YAML: {}", failure.what()));
                 }
               });
  for (const std::string& each : sets) {
    const std::size_t equals = each.find('=');
    if (equals == std::string::npos) throw Error(ErrorKind::kUsage, fmt::format("--set {}: expected key=value", each));
    with_context([&] { return "--set " + each; },
                 [&] {
                   try {
                     gather(each.substr(0, equals), YAML::Load(each.substr(equals + 1)), values);
                   } catch (const YAML::Exception& failure) {
                     throw Error(ErrorKind::kUsage, fmt::format("is no YAML: {}", failure.what()));
                   }
                 });
  }
  // A rule and a model bring values of their own, which the other keys then change. The list keeps its order: to assign
  // a node changes what it stands for.
  const auto comes_first = [](const std::string& name) { return name == "optimizer.rule" || name == "model"; };
  const auto turn_of = [&](const std::string& name) { return comes_first(name) ? 0 : name == "method" ? 1 : 2; };
  TrainOptions options;
  for (const int turn : {0, 1, 2}) {
    for (const auto& [name, node] : values) {
      if (turn_of(name) == turn) set(options, name, node);
    }
  }
  options.validate();
  return options;
}

}  // namespace jericho
