// One call from Elixir: its arguments, what it keeps alive, and how it ends.
#pragma once

#include <erl_nif.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/handles/error.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/autorelease_pool.hpp"

namespace mlx_nif {

using NativeFunction = ERL_NIF_TERM (*)(ErlNifEnv*, int, const ERL_NIF_TERM[]);

// A string as a template argument: the name of a native function.
template <std::size_t Size>
struct Name {
  consteval Name(const char (&name)[Size]) { std::copy_n(name, Size, text); }
  constexpr std::string_view view() const { return {text, Size - 1}; }
  char text[Size];
};

// The Elixir function that errors of a native one are reported for: `add` is `Mlx.add`, `linalg_inv` is
// `Mlx.Linalg.inv`.
std::string public_name(std::string_view native_name);

// The call is on a normal scheduler, which must not be kept for a millisecond.
inline bool on_normal_scheduler() {
  return enif_thread_type() == ERL_NIF_THR_NORMAL_SCHEDULER;
}

inline ErlNifPid calling_process(ErlNifEnv* env) {
  ErlNifPid process;
  enif_self(env, &process);
  return process;
}

inline bool on_dirty_scheduler() {
  return !on_normal_scheduler();
}

// Raises an exception of `module` for the Elixir function.
ERL_NIF_TERM raise(ErlNifEnv* env, ERL_NIF_TERM module, const std::string& function, std::string_view message);

// Runs the call again on a dirty scheduler.
ERL_NIF_TERM reschedule(ErlNifEnv* env, const char* name, NativeFunction function, int argc, const ERL_NIF_TERM argv[]);

// Ends the exception that is being handled as an Elixir one.
ERL_NIF_TERM raise_current(ErlNifEnv* env, const std::string& function);

// What every native function is made of: no C++ exception leaves it, MLX is ready to be used from this thread, and a
// call that would take too long here runs again on a dirty scheduler.
template <Name name, auto body>
ERL_NIF_TERM native(ErlNifEnv* env, int argc, const ERL_NIF_TERM argv[]) {
  [[maybe_unused]] const AutoreleasePool pool;
  try {
    Streams::instance().adopt_thread();
    return body(env, argv);
  } catch (const NeedsDirtyScheduler&) {
    return reschedule(env, name.text, native<name, body>, argc, argv);
  } catch (...) {
    return raise_current(env, public_name(name.view()));
  }
}

// What a call takes of a normal scheduler counts as the process's own work, after which others run. Among these are the
// destructors of what was collected.
class TimeSlice {
 public:
  explicit TimeSlice(ErlNifEnv* env) : env_(env) {}
  ~TimeSlice() {
    constexpr auto one_percent = std::chrono::microseconds(10);
    const auto percent = (std::chrono::steady_clock::now() - start_) / one_percent;
    if (percent > 0 && on_normal_scheduler()) {
      enif_consume_timeslice(env_, static_cast<int>(std::min<std::int64_t>(percent, 100)));
    }
  }
  TimeSlice(const TimeSlice&) = delete;
  TimeSlice& operator=(const TimeSlice&) = delete;

 private:
  ErlNifEnv* env_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// What must not run on a normal scheduler at all.
inline void require_dirty_scheduler() {
  if (on_normal_scheduler()) {
    throw NeedsDirtyScheduler();
  }
}

}  // namespace mlx_nif
