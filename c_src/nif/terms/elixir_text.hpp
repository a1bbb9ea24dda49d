// Terms in messages, written as Elixir writes them.
#pragma once

#include <erl_nif.h>

#include <string>

namespace mlx_nif {

// Long terms are cut. Arrays are written by their type and shape.
std::string elixir_text(ErlNifEnv* env, ERL_NIF_TERM term);

// Whether a term is the struct of an array, of which this virtual machine may not have the memory.
bool is_array_struct(ErlNifEnv* env, ERL_NIF_TERM term);

// What makes an array of a term that was given in the place of one, or nothing. It goes behind the term.
std::string array_hint(ErlNifEnv* env, ERL_NIF_TERM term);

}  // namespace mlx_nif
