// Knows the choice of each process until it ends.
#include "nif/resources/current_streams.hpp"

#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include "core/handles/error.hpp"
#include "core/streams/streams.hpp"
#include "nif/calls/call.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/resources/resource.hpp"

namespace mlx_nif::current_streams {
namespace {

// Keeps the stream alive, and hears when the process ends.
struct Choice {
  Resource<StreamResource>::Kept stream;
  ErlNifMonitor monitor;
};

struct Choices {
  std::shared_mutex mutex;
  std::unordered_map<ERL_NIF_TERM, Choice> by_process;
  std::atomic<std::size_t> count{0};

  // Never destroyed: the VM runs static destructors while its threads still use the streams.
  static Choices& instance() {
    static Choices* const choices = new Choices;
    return *choices;
  }

  void erase(ERL_NIF_TERM process, ErlNifEnv* env) {
    const auto found = by_process.find(process);
    if (found == by_process.end()) {
      return;
    }
    if (env != nullptr) {
      enif_demonitor_process(env, found->second.stream.get(), &found->second.monitor);
    }
    by_process.erase(found);
    count.store(by_process.size(), std::memory_order_relaxed);
  }
};

}  // namespace

mlx_stream of_caller(ErlNifEnv* env) {
  auto& choices = Choices::instance();
  if (choices.count.load(std::memory_order_relaxed) != 0) {
    const std::shared_lock lock(choices.mutex);
    const auto found = choices.by_process.find(calling_process(env).pid);
    if (found != choices.by_process.end()) {
      return found->second.stream.get()->get();
    }
  }
  return Streams::instance().default_stream();
}

void choose(ErlNifEnv* env, StreamResource* stream) {
  const ErlNifPid pid = calling_process(env);
  auto& choices = Choices::instance();
  const std::lock_guard lock(choices.mutex);
  choices.erase(pid.pid, env);
  if (stream == nullptr) {
    return;
  }
  Choice choice{Resource<StreamResource>::Kept(*stream), {}};
  if (enif_monitor_process(env, stream, &pid, &choice.monitor) != 0) {
    throw Error("the process has ended");
  }
  choices.by_process.emplace(pid.pid, std::move(choice));
  choices.count.store(choices.by_process.size(), std::memory_order_relaxed);
}

void forget(const ErlNifPid& pid) {
  auto& choices = Choices::instance();
  const std::lock_guard lock(choices.mutex);
  choices.erase(pid.pid, nullptr);
}

}  // namespace mlx_nif::current_streams
