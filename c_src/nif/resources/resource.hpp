// C++ objects that Elixir holds by reference.
#pragma once

#include <erl_nif.h>

#include <memory>
#include <new>
#include <utility>

#include "core/threads/autorelease_pool.hpp"

namespace mlx_nif {

// The VM's garbage collector ends the life of a `T` when no process has its reference any more.
template <typename T>
class Resource {
 public:
  // At load and upgrade: objects that an older version of this library made are taken over.
  static bool open(ErlNifEnv* env, const char* name) {
    ErlNifResourceTypeInit init{};
    init.dtor = [](ErlNifEnv*, void* object) {
      [[maybe_unused]] const AutoreleasePool pool;
      static_cast<T*>(object)->~T();
    };
    // What a type does when a process ends that one of its objects monitors.
    if constexpr (requires(T& object, const ErlNifPid& pid) { object.process_ended(pid); }) {
      init.down = [](ErlNifEnv*, void* object, ErlNifPid* pid, ErlNifMonitor*) {
        static_cast<T*>(object)->process_ended(*pid);
      };
    }
    init.members = 3;
    const auto flags = static_cast<ErlNifResourceFlags>(ERL_NIF_RT_CREATE | ERL_NIF_RT_TAKEOVER);
    type_ = enif_open_resource_type_x(env, name, &init, flags, nullptr);
    return type_ != nullptr;
  }

  // A reference that C++ holds.
  class Kept {
   public:
    explicit Kept(T& object) : object_(&object) { enif_keep_resource(object_); }
    Kept(Kept&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Kept& operator=(Kept&&) = delete;
    ~Kept() {
      if (object_ != nullptr) {
        enif_release_resource(object_);
      }
    }
    T* get() const { return object_; }

   private:
    T* object_;
  };

  // An owner of an object that Elixir has, too.
  static std::shared_ptr<T> share(T& object) {
    enif_keep_resource(&object);
    return {&object, [](T* kept) { enif_release_resource(kept); }};
  }

  static T* find(ErlNifEnv* env, ERL_NIF_TERM reference) {
    void* object = nullptr;
    return enif_get_resource(env, reference, type_, &object) != 0 ? static_cast<T*>(object) : nullptr;
  }

  template <typename... Arguments>
  static ERL_NIF_TERM make(ErlNifEnv* env, Arguments&&... arguments) {
    return with_new([&](T* object) { return enif_make_resource(env, object); }, std::forward<Arguments>(arguments)...);
  }

  // A binary whose bytes belong to the new object.
  template <typename... Arguments>
  static ERL_NIF_TERM make_binary(ErlNifEnv* env, const void* data, std::size_t size, Arguments&&... arguments) {
    return with_new([&](T* object) { return enif_make_resource_binary(env, object, data, size); },
                    std::forward<Arguments>(arguments)...);
  }

 private:
  template <typename MakeTerm, typename... Arguments>
  static ERL_NIF_TERM with_new(const MakeTerm& make_term, Arguments&&... arguments) {
    void* memory = enif_alloc_resource(type_, sizeof(T));
    T* object = new (memory) T(std::forward<Arguments>(arguments)...);
    const ERL_NIF_TERM term = make_term(object);
    enif_release_resource(object);
    return term;
  }

  static inline ErlNifResourceType* type_ = nullptr;
};

}  // namespace mlx_nif
