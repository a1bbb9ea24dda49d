// A primitive that computes with a kernel where there is one, and else operation by operation.
#include "core/kernels/fused_kernel.hpp"

#include <mlx/backend/cpu/encoder.h>
#include <mlx/mlx.h>
#include <mlx/primitives.h>
#include <mlx/version.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <typeinfo>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/kernels/kernel_maker.hpp"
#include "core/kernels/small_storage.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;
using Arrays = std::vector<mx::array>;
using Clock = std::chrono::steady_clock;

// To fail takes a compiler some time.
constexpr auto pause_after_failure = std::chrono::minutes(1);

// MLX shortens a name that is longer than a file's may be, and adds a hash.
constexpr std::size_t longest_common_name = 229;

// What MLX fused, for which it has no functions. An explicit instantiation may name what is private.
using Constants = std::unordered_set<std::uintptr_t>;

struct FusedInputs {
  using Type = Arrays;
};
struct FusedOutputs {
  using Type = Arrays;
};
struct FusedNodes {
  using Type = Arrays;
};
struct FusedConstants {
  using Type = Constants;
};

template <typename Part, auto member>
struct Shown {
  friend const typename Part::Type& part_of(const mx::Compiled& compiled, Part) { return compiled.*member; }
};

const Arrays& part_of(const mx::Compiled& compiled, FusedInputs);
const Arrays& part_of(const mx::Compiled& compiled, FusedOutputs);
const Arrays& part_of(const mx::Compiled& compiled, FusedNodes);
const Constants& part_of(const mx::Compiled& compiled, FusedConstants);

template struct Shown<FusedInputs, &mx::Compiled::inputs_>;
template struct Shown<FusedOutputs, &mx::Compiled::outputs_>;
template struct Shown<FusedNodes, &mx::Compiled::tape_>;
template struct Shown<FusedConstants, &mx::Compiled::constant_ids_>;

class Failures {
 public:
  void add(std::string message) {
    const std::lock_guard lock(mutex_);
    last_ = std::move(message);
    resume_ = Clock::now() + pause_after_failure;
  }
  std::string last() {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  bool paused() {
    const std::lock_guard lock(mutex_);
    return Clock::now() < resume_;
  }

  // Never destroyed: the VM runs static destructors while its threads evaluate.
  static Failures& instance() {
    static Failures* const failures = new Failures;
    return *failures;
  }

 private:
  std::mutex mutex_;
  std::string last_;
  Clock::time_point resume_ = Clock::time_point::min();
};

// The folder, the compiler, or what it made; not a lack of memory for the results.
bool is_about_kernel(const std::runtime_error& error) {
  const std::string_view message = error.what();
  return dynamic_cast<const std::system_error*>(&error) != nullptr || message.starts_with("[Compile::eval_cpu]") ||
         message.starts_with("Could not load C++ shared library");
}

// What a full disk left of a library would be loaded in vain for ever.
void remove_files(const std::string& kernel) {
  const std::string source = kernel.substr(0, longest_common_name);
  const std::string library = "lib" + source;
  std::error_code error;
  for (auto file = std::filesystem::directory_iterator(kernel_folder_path(), error);
       !error && file != std::filesystem::directory_iterator(); file.increment(error)) {
    const std::string name = file->path().filename().string();
    if (name.starts_with(source) || name.starts_with(library)) {
      std::error_code ignored;
      std::filesystem::remove(file->path(), ignored);
    }
  }
}

mx::array evaluated(mx::array node) {
  Arrays results{node};
  node.primitive().eval_cpu(node.inputs(), results);
  mx::cpu::get_command_encoder(node.primitive().stream()).add_temporary(node);
  return node;
}

// As the kernel does, with all arrays in the shape of the results: inputs are repeated when they come in, and not
// later.
void compute_one_by_one(const mx::Compiled& compiled, const mx::Stream& stream, const Arrays& inputs, Arrays& outputs) {
  const mx::Shape shape = outputs[0].shape();
  std::unordered_map<std::uintptr_t, mx::array> values;
  for (std::size_t index = 0; index < inputs.size(); ++index) {
    const mx::array repeated = mx::broadcast_to(inputs[index], shape, stream);
    const bool is_input = repeated.id() == inputs[index].id();
    values.emplace(part_of(compiled, FusedInputs{})[index].id(), is_input ? repeated : evaluated(repeated));
  }
  for (const mx::array& node : part_of(compiled, FusedNodes{})) {
    Arrays arguments;
    for (const mx::array& input : node.inputs()) {
      arguments.push_back(values.at(input.id()));
    }
    const bool repeats = std::string_view(node.primitive().name()) == "Broadcast";
    values.emplace(node.id(), repeats ? arguments[0]
                                      : evaluated({shape, node.dtype(), node.primitive_ptr(), std::move(arguments)}));
  }
  for (std::size_t index = 0; index < outputs.size(); ++index) {
    outputs[index].copy_shared_buffer(values.at(part_of(compiled, FusedOutputs{})[index].id()));
  }
}

// The kernels of a fused function: one for each way in which the arrays may be stored.
class Kernels {
 public:
  explicit Kernels(std::shared_ptr<mx::Compiled> compiled) : compiled_(std::move(compiled)) {}

  mx::Compiled& compiled() const { return *compiled_; }

  bool made(StorageId storage) {
    const std::lock_guard lock(mutex_);
    return made_.contains(storage);
  }

  // With a kernel that was made before, or is made now. False when there is none; the outputs are as they were then.
  bool compute(StorageId storage, bool made_before, const Arrays& inputs, Arrays& outputs) {
    try {
      compiled_->eval_cpu(inputs, outputs);
      if (!made_before) {
        note(storage, true);
      }
      return true;
    } catch (const std::runtime_error& error) {
      if (!is_about_kernel(error)) {
        throw;
      }
      note(storage, false);
      take_failure(error);
      return false;
    }
  }

  // Has the kernel made for arrays that are stored like these, unless the function is gone by then: kernels of
  // functions that are called once or twice would take hours, and memory for each.
  static void request(const std::shared_ptr<Kernels>& kernels, StorageId storage, const Arrays& inputs,
                      const Arrays& outputs) {
    {
      const std::lock_guard lock(kernels->mutex_);
      if (!kernels->requested_.insert(storage).second) {
        return;
      }
    }
    KernelMaker::instance().add([function = std::weak_ptr(kernels), storage, sample = SmallStorage(inputs, outputs)] {
      if (const auto wanted = function.lock()) {
        wanted->make(storage, sample);
      }
    });
  }

 private:
  // A kernel is made when it is used for the first time, so it is used for arrays that nobody needs. Whatever fails,
  // the next evaluation asks for the kernel once more.
  void make(StorageId storage, const SmallStorage& sample) {
    try {
      use_first(sample);
      note(storage, true);
    } catch (const std::runtime_error& error) {
      note(storage, false);
      if (is_about_kernel(error)) {
        take_failure(error);
      }
    } catch (...) {
      note(storage, false);
    }
  }

  void use_first(const SmallStorage& sample) const {
    thread_local const mx::Stream stream = mx::new_stream(mx::Device(mx::Device::cpu));
    mx::Compiled anew(stream, part_of(*compiled_, FusedInputs{}), part_of(*compiled_, FusedOutputs{}),
                      part_of(*compiled_, FusedNodes{}), part_of(*compiled_, FusedConstants{}));
    const Arrays inputs = sample.inputs();
    Arrays outputs = sample.outputs();
    anew.eval_cpu(inputs, outputs);
    mx::synchronize(stream);
  }

  void note(StorageId storage, bool made) {
    const std::lock_guard lock(mutex_);
    if (made) {
      made_.insert(storage);
    } else {
      made_.erase(storage);
    }
    requested_.erase(storage);
  }

  void take_failure(const std::runtime_error& error) const {
    Failures::instance().add(error.what());
    remove_files(compiled_->lib_name());
  }

  const std::shared_ptr<mx::Compiled> compiled_;
  std::mutex mutex_;
  std::unordered_set<StorageId> made_;
  std::unordered_set<StorageId> requested_;
};

class FusedKernel final : public mx::Primitive {
 public:
  explicit FusedKernel(std::shared_ptr<mx::Compiled> compiled)
      : Primitive(compiled->stream()), kernels_(std::make_shared<Kernels>(std::move(compiled))) {}

  void eval_cpu(const Arrays& inputs, Arrays& outputs) override {
    if (!compute(inputs, outputs)) {
      compute_one_by_one(kernels_->compiled(), stream(), inputs, outputs);
    }
  }
  void eval_gpu(const Arrays& inputs, Arrays& outputs) override { kernels_->compiled().eval_gpu(inputs, outputs); }

  const char* name() const override { return kernels_->compiled().name(); }
  std::vector<mx::Shape> output_shapes(const Arrays& inputs) override {
    return kernels_->compiled().output_shapes(inputs);
  }

 private:
  bool compute(const Arrays& inputs, Arrays& outputs) {
    const StorageId storage = storage_id(inputs, outputs[0].shape());
    KernelMaker& maker = KernelMaker::instance();
    const bool made = kernels_->made(storage);
    if (!made) {
      if (maker.making() == KernelMaking::never || Failures::instance().paused()) {
        return false;
      }
      if (maker.making() == KernelMaking::background) {
        Kernels::request(kernels_, storage, inputs, outputs);
        return false;
      }
    }
    const auto use = maker.use();
    return use.owns_lock() && kernels_->compute(storage, made, inputs, outputs);
  }

  // The thread that makes kernels uses them, too.
  const std::shared_ptr<Kernels> kernels_;
};

}  // namespace

std::shared_ptr<mx::Primitive> with_fallback(std::shared_ptr<mx::Primitive> primitive) {
  mx::Primitive& made = *primitive;
  if (typeid(made) != typeid(mx::Compiled) || made.device() != mx::Device::cpu) {
    return primitive;
  }
  return std::make_shared<FusedKernel>(std::static_pointer_cast<mx::Compiled>(std::move(primitive)));
}

std::string last_kernel_failure() {
  return Failures::instance().last();
}

std::filesystem::path kernel_folder_path() {
  std::error_code error;
  const std::filesystem::path temporary = std::filesystem::temp_directory_path(error);
  return error ? std::filesystem::path() : temporary / "mlx" / mx::version() / "cpu";
}

}  // namespace mlx_nif
