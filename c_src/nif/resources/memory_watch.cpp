// Compares the memory in use with the limit, and with what it was before.
#include "nif/resources/memory_watch.hpp"

#include <mlx/c/mlx.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>

#include "core/handles/error.hpp"
#include "core/memory/holdings.hpp"
#include "core/memory/memory_limits.hpp"
#include "nif/terms/atoms.hpp"

namespace mlx_nif::memory_watch {
namespace {

constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

// What is beyond the limit and alive stays so: it has to grow before all processes are collected once more.
constexpr std::size_t least_growth_beyond_limit = std::size_t{4} << 20;
constexpr std::size_t most_growth_beyond_limit = std::size_t{256} << 20;
constexpr std::size_t parts_of_limit = 8;

// Active memory up to which nobody makes room beyond the limit.
std::atomic<std::size_t> bearable{0};

struct Report {
  std::mutex mutex;
  ErlNifPid process{};
  std::atomic<std::size_t> growth{0};
  // Active memory from which on the process hears of it.
  std::atomic<std::size_t> mark{never};
  // And from which on evaluations wait until it has done what it heard of.
  std::atomic<std::size_t> bound{never};
};

// Never destroyed: the VM runs static destructors while its threads still compute.
Report& report() {
  static Report* const report = new Report;
  return *report;
}

std::size_t active_memory() {
  std::size_t bytes = 0;
  check(mlx_get_active_memory(&bytes));
  return bytes;
}

bool beyond_limit() {
  const std::size_t active = active_memory();
  if (active <= memory_limit()) {
    bearable.store(0, std::memory_order_relaxed);
    return false;
  }
  return active > bearable.load(std::memory_order_relaxed);
}

// Whether memory grew on while the process that heard of it is at work. Each growth is told to one evaluation.
bool outran_report() {
  const std::size_t bound = report().bound.load(std::memory_order_relaxed);
  if (bound == never) {
    return false;
  }
  const std::size_t active = active_memory();
  if (active <= bound) {
    return false;
  }
  std::size_t expected = bound;
  return report().bound.compare_exchange_strong(expected, active + report().growth.load());
}

}  // namespace

ERL_NIF_TERM needed_collection(ErlNifEnv* env) {
  if (Holdings::of(calling_process(env).pid)->collection_due()) {
    return atoms.collect;
  }
  if (Holdings::any_overfull() || outran_report()) {
    return atoms.collect_others;
  }
  if (beyond_limit()) {
    return atoms.make_room;
  }
  return atoms.nil;
}

void room_made() {
  const std::size_t growth =
      std::clamp(memory_limit() / parts_of_limit, least_growth_beyond_limit, most_growth_beyond_limit);
  bearable.store(active_memory() + growth, std::memory_order_relaxed);
}

void report_growth(const ErlNifPid& process, std::size_t bytes) {
  const std::lock_guard lock(report().mutex);
  report().process = process;
  report().growth = bytes;
  report().bound = never;
  const std::size_t active = active_memory();
  report().mark.store(bytes > never - active ? never : active + bytes);
}

void look(ErlNifEnv* env) {
  const std::size_t mark = report().mark.load(std::memory_order_relaxed);
  if (mark == never) {
    return;
  }
  const std::size_t active = active_memory();
  const bool grew = active > mark;
  const bool shrank = active + report().growth < mark;
  if (!grew && !shrank) {
    return;
  }
  const std::lock_guard lock(report().mutex);
  if (report().mark.load() == never) {
    return;
  }
  report().mark.store(grew ? never : active + report().growth);
  if (grew) {
    report().bound = active + report().growth;
    enif_send(env, &report().process, nullptr, atoms.memory_grew);
  }
}

}  // namespace mlx_nif::memory_watch
