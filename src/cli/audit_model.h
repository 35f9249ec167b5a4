// The model that an audit is about, and the planner that would be asked if it ran: a file's headers, or a bare
// config.json or shape with weights of a type. Start at AuditModel.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "audit/audit.h"
#include "cli/workspace.h"

namespace CLI {
class App;
}

namespace jericho::cli {

struct AuditModelOptions {
  WorkspaceOptions workspace{};  // its model may be a config.json too
  std::string shape{};
  std::string type{};  // of weights without a file; empty: what the configuration says, else BF16
  Index batch = 1;

  void add_flags(CLI::App& verb);
};

class AuditModel {
 public:
  explicit AuditModel(const AuditModelOptions& options);
  AuditModel(const AuditModel&) = delete;  // its planner points to it
  AuditModel& operator=(const AuditModel&) = delete;

  [[nodiscard]] ModelView view() const { return {workspace_->config(), workspace_->weights()}; }
  // A slice of it with random weights, or the model itself, may be made to run from here.
  [[nodiscard]] Workspace& workspace() { return *workspace_; }
  [[nodiscard]] const WorkspaceOptions& options() const { return options_.workspace; }
  void release() { workspace_.reset(); }  // view() and planner() end with it
  [[nodiscard]] bool generates() const { return request_.command.has_text; }
  [[nodiscard]] int threads() const { return workspace_->threads(); }
  // What run asks with one sequence and bench with several, in this process as it is.
  [[nodiscard]] const Planner& planner() const { return planner_; }
  [[nodiscard]] AuditRequest request() const { return request_; }

 private:
  void open_shape();
  void open_config(const std::filesystem::path& path, const std::string& why);
  void open_file();
  void make_planner();

  AuditModelOptions options_;
  AuditRequest request_{};
  std::unique_ptr<Workspace> workspace_;
  Planner planner_{};
};

}  // namespace jericho::cli
