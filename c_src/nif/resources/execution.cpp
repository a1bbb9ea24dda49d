// The thread on which an execution runs, and the messages between it and its process.
#include "nif/resources/execution.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/evaluation/evaluation.hpp"
#include "core/handles/error.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/deep_thread.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/terms/atoms.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

constexpr std::size_t least_stack_bytes = std::size_t{64} << 20;

ERL_NIF_TERM make_values(const ErlNifPid& process, ErlNifEnv* env, std::vector<ArrayHandle> arrays) {
  std::vector<ERL_NIF_TERM> terms;
  std::ranges::transform(arrays, std::back_inserter(terms),
                         [&](ArrayHandle& array) { return make_value_for(process, env, std::move(array)); });
  return enif_make_list_from_array(env, terms.data(), static_cast<unsigned>(terms.size()));
}

}  // namespace

Execution::Execution(std::shared_ptr<const Instruction> instruction, std::vector<std::shared_ptr<Array>> inputs,
                     const ErlNifPid& process, ERL_NIF_TERM tag)
    : instruction_(std::move(instruction)), inputs_(std::move(inputs)), process_(process), tag_(tag) {}

void Execution::start(const std::shared_ptr<Execution>& execution) {
  const std::size_t stack_bytes = stack_bytes_for(execution->instruction_->traits().depth);
  start_deep_thread(std::max(least_stack_bytes, stack_bytes), [execution] {
    Streams::instance().adopt_thread();
    execution->run();
  });
}

void Execution::run() {
  const OwnEnvironment env(enif_alloc_env());
  try {
    send_message(env.get(), {atoms.ok, make_values(process_, env.get(), results())});
  } catch (const std::exception& error) {
    send_message(env.get(), {atoms.error, make_binary(env.get(), error.what())});
  } catch (...) {
    send_message(env.get(), {atoms.error, make_binary(env.get(), "unknown error")});
  }
}

std::vector<ArrayHandle> Execution::results() {
  std::vector<Pin> pins;
  std::vector<Array*> arrays;
  for (const auto& input : inputs_) {
    pins.emplace_back(*input);
    arrays.push_back(input.get());
  }
  evaluate(arrays, Waiting::unlimited);
  std::vector<mlx_array> handles;
  std::ranges::transform(arrays, std::back_inserter(handles), &Array::get);
  return Host::run(*instruction_, handles);
}

void Execution::send_message(ErlNifEnv* env, std::vector<ERL_NIF_TERM> parts) const {
  parts.insert(parts.begin(), tag_.copy_to(env));
  enif_send(nullptr, &process_, env,
            enif_make_tuple_from_array(env, parts.data(), static_cast<unsigned>(parts.size())));
}

std::vector<ArrayHandle> Execution::call(std::uint64_t function, std::vector<ArrayHandle> arrays) {
  const OwnEnvironment env(enif_alloc_env());
  send_message(env.get(), {atoms.call, enif_make_uint64(env.get(), function),
                           make_values(process_, env.get(), std::move(arrays))});
  std::unique_lock lock(mutex_);
  resumed_.wait(lock, [this] { return !wanted_ || answer_; });
  if (!wanted_) {
    throw Error("the process that called a compiled function has ended, or a function in it has raised");
  }
  return *std::exchange(answer_, std::nullopt);
}

void Execution::check_wanted() const {
  const std::lock_guard lock(mutex_);
  if (!wanted_) {
    throw Error("the process that called a compiled function has ended");
  }
}

void Execution::resume(std::optional<std::vector<ArrayHandle>> results) {
  {
    const std::lock_guard lock(mutex_);
    if (results) {
      answer_ = std::move(results);
    } else {
      wanted_ = false;
    }
  }
  resumed_.notify_one();
}

}  // namespace mlx_nif
