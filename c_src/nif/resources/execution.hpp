// A program that depends on values, while it runs for a process.
#pragma once

#include <erl_nif.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/array/array.hpp"
#include "core/transforms/control_flow.hpp"
#include "nif/terms/environment.hpp"

namespace mlx_nif {

// Runs an instruction on a thread of its own and sends the process messages that begin with its tag: `{tag, :ok,
// results}` or `{tag, :error, message}` at the end, and before that `{tag, :call, function, arrays}` for each call of a
// function of Elixir, which `resume` answers. It ends early when the process does.
class Execution final : public Host {
 public:
  Execution(std::shared_ptr<const Instruction> instruction, std::vector<std::shared_ptr<Array>> inputs,
            const ErlNifPid& process, ERL_NIF_TERM tag);

  static void start(const std::shared_ptr<Execution>& execution);

  // Answers a call; without arrays the execution ends.
  void resume(std::optional<std::vector<ArrayHandle>> results);

  std::vector<ArrayHandle> call(std::uint64_t function, std::vector<ArrayHandle> arrays) override;
  void check_wanted() const override;

 private:
  void run();
  std::vector<ArrayHandle> results();
  void send_message(ErlNifEnv* env, std::vector<ERL_NIF_TERM> parts) const;

  const std::shared_ptr<const Instruction> instruction_;
  std::vector<std::shared_ptr<Array>> inputs_;
  const ErlNifPid process_;
  const KeptTerm tag_;

  mutable std::mutex mutex_;
  std::condition_variable resumed_;
  bool wanted_ = true;
  std::optional<std::vector<ArrayHandle>> answer_;
};

// What Elixir holds of one.
struct ExecutionResource {
  std::shared_ptr<Execution> execution;

  explicit ExecutionResource(std::shared_ptr<Execution> of) : execution(std::move(of)) {}
  ~ExecutionResource() { execution->resume(std::nullopt); }
  ExecutionResource(const ExecutionResource&) = delete;
  ExecutionResource& operator=(const ExecutionResource&) = delete;
};

}  // namespace mlx_nif
