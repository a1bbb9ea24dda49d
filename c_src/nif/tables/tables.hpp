// The native functions, one table a topic.
#pragma once

#include <erl_nif.h>

#include <vector>

namespace mlx_nif {

std::vector<ErlNifFunc> creation_operations();
std::vector<ErlNifFunc> elementwise_operations();
std::vector<ErlNifFunc> fast_operations();
std::vector<ErlNifFunc> fft_operations();
std::vector<ErlNifFunc> indexing_operations();
std::vector<ErlNifFunc> linalg_operations();
std::vector<ErlNifFunc> products_operations();
std::vector<ErlNifFunc> random_operations();
std::vector<ErlNifFunc> reduction_operations();
std::vector<ErlNifFunc> shape_operations();

std::vector<ErlNifFunc> array_functions();
std::vector<ErlNifFunc> compilation_functions();
std::vector<ErlNifFunc> control_flow_functions();
std::vector<ErlNifFunc> device_functions();
std::vector<ErlNifFunc> distributed_functions();
std::vector<ErlNifFunc> function_file_functions();
std::vector<ErlNifFunc> grammar_functions();
std::vector<ErlNifFunc> io_functions();
std::vector<ErlNifFunc> kernel_functions();
std::vector<ErlNifFunc> memory_functions();
std::vector<ErlNifFunc> term_table_functions();
std::vector<ErlNifFunc> transform_functions();
std::vector<ErlNifFunc> unsafe_functions();

}  // namespace mlx_nif
