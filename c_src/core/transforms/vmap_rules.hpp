// How a custom function maps over axes.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/handles/error.hpp"
#include "core/recording/program.hpp"

namespace mlx_nif {

// One program for each kind of inputs. C++ cannot call the user's function: a rule is recorded when it turns out to be
// missing.
class VmapRules {
 public:
  struct Input {
    // -1 for an input that is the same for all.
    int axis;
    std::vector<int> shape;
    mlx_dtype type;

    bool operator==(const Input&) const = default;
  };

  struct Rule {
    std::shared_ptr<const Program> program;
    // What the program captured: values, given to it after the inputs.
    std::vector<ArrayHandle> captured;
    std::vector<int> output_axes;
  };

  // `function`: what the rules are recorded from.
  explicit VmapRules(std::shared_ptr<const void> function) : function_(std::move(function)) {}

  const std::shared_ptr<const void>& function() const { return function_; }

  // Null when it is not recorded yet.
  std::shared_ptr<const Rule> find(const std::vector<Input>& inputs) const;
  void insert(std::vector<Input> inputs, Rule rule);

 private:
  const std::shared_ptr<const void> function_;
  mutable std::mutex mutex_;
  std::vector<std::pair<std::vector<Input>, std::shared_ptr<const Rule>>> rules_;
};

// A rule has to be recorded first.
struct NeedsVmapRule : Error {
  NeedsVmapRule(std::shared_ptr<VmapRules> of, std::vector<VmapRules::Input> for_inputs)
      : Error("a custom function is mapped over other arrays than when it was recorded"),
        rules(std::move(of)),
        inputs(std::move(for_inputs)) {}

  std::shared_ptr<VmapRules> rules;
  std::vector<VmapRules::Input> inputs;
};

}  // namespace mlx_nif
