#include "core/compilation.hpp"

#include <condition_variable>
#include <deque>
#include <format>
#include <mutex>

#include "core/deep_thread.hpp"
#include "core/error.hpp"
#include "core/streams.hpp"

namespace mlx_nif {
namespace {

// Tracing recurses over the operations of a function.
constexpr std::size_t stack_bytes = std::size_t{1} << 30;

using CacheHandle = Handle<mlx_compile_cache, mlx_compile_cache_free>;

// Runs one piece of work after another. Never destroyed and never joined: the thread lives as long as the process.
class CompilationThread {
 public:
  static CompilationThread& instance() {
    static CompilationThread* const thread = new CompilationThread;
    return *thread;
  }

  void add(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(work));
    }
    added_.notify_one();
  }

 private:
  CompilationThread() {
    start_deep_thread(stack_bytes, [this] { run(); });
  }

  void run() {
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock lock(mutex_);
        added_.wait(lock, [this] { return !queue_.empty(); });
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      Streams::instance().adopt_thread();
      work();
    }
  }

  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<std::function<void()>> queue_;
};

// MLX tells compiled functions apart by the addresses of their code; no code is at these.
std::atomic<std::uintptr_t> next_number{1};

void erase(std::uintptr_t number) {
  CacheHandle cache;
  if (mlx_detail_compile_cache(cache.out()) == 0) {
    mlx_detail_compile_erase(cache.get(), number);
  }
}

}  // namespace

void on_compilation_thread(std::function<void()> work) {
  CompilationThread::instance().add(std::move(work));
}

CompiledFunction::CompiledFunction(std::shared_ptr<const Program> program, bool shapeless)
    : program_(std::move(program)), shapeless_(shapeless), number_(next_number.fetch_add(1)) {
  if (program_->traits().nodes > nodes_for_stack(stack_bytes)) {
    throw Error(std::format("a function of {} operations is too long to be compiled", program_->traits().nodes));
  }
}

CompiledFunction::~CompiledFunction() {
  // What the closure keeps is freed after what was compiled of it.
  auto closure = std::make_shared<ClosureHandle>(std::move(closure_));
  on_compilation_thread([closure, number = number_] { erase(number); });
}

std::vector<ArrayHandle> CompiledFunction::call(std::span<const mlx_array> inputs) {
  if (inputs.size() != program_->input_count()) {
    throw ArgumentError("expected as many arrays as the recorded function takes");
  }
  if (!closure_) {
    const ClosureHandle closure = program_->closure();
    check(mlx_detail_compile(closure_.out(), closure.get(), number_, shapeless_, nullptr, 0));
  }
  calls_.fetch_add(1, std::memory_order_relaxed);
  std::vector<ArrayHandle> results;
  apply_closure(closure_.get(), inputs, results);
  return results;
}

}  // namespace mlx_nif
