// Calls MLX's functions of C++, and checks the arguments that these take for granted.
#include "core/operations/newer_operations.hpp"

#include <algorithm>
#include <format>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/handles/arguments.hpp"
#include "core/handles/error.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/memory/array_limit.hpp"
#include "core/recording/in_rows.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

std::optional<mx::array> optional_array(mlx_array array) {
  return array.ctx == nullptr ? std::nullopt : std::optional(array_of(array));
}

std::optional<int> optional_int(mlx_optional_int number) {
  return number.has_value ? std::optional(number.value) : std::nullopt;
}

mx::fft::FFTNorm norm_of(mlx_fft_norm norm) {
  switch (norm) {
    case MLX_FFT_NORM_ORTHO:
      return mx::fft::FFTNorm::Ortho;
    case MLX_FFT_NORM_FORWARD:
      return mx::fft::FFTNorm::Forward;
    default:
      return mx::fft::FFTNorm::Backward;
  }
}

void require_axes(std::initializer_list<mlx_array> arrays, std::size_t axes) {
  require_all(arrays);
  if (!std::ranges::all_of(arrays, [axes](mlx_array array) { return mlx_array_ndim(array) == axes; })) {
    throw ArgumentError("expected arrays of " + std::to_string(axes) + " axes");
  }
}

void require_shape(mlx_array array, const char* name, std::initializer_list<int> shape) {
  if (array.ctx != nullptr && !std::ranges::equal(shape_of(array), shape)) {
    std::string text;
    for (const int size : shape) {
      text += (text.empty() ? "" : ", ") + std::to_string(size);
    }
    throw ArgumentError(std::string("expected ") + name + " of the shape {" + text + "}");
  }
}

// MLX computes with lengths of 32 bits.
constexpr int largest_length = 1 << 30;

// Frames that overlap more than this take a graph of as many nodes.
constexpr int most_overlapping_frames = 4096;

void check_frames(int length, int hop, int window_length) {
  if (length < 1 || length > largest_length || hop < 1 || window_length < 1 || window_length > length) {
    throw ArgumentError("expected a length from 1 to 2^30, a hop of at least 1, and a window that is not longer");
  }
  if (length / hop > most_overlapping_frames) {
    throw ArgumentError(
        std::format("each sample is in {} frames, and {} are the most", length / hop, most_overlapping_frames));
  }
}

// The frames are longer together than what they are made of.
void check_memory_of_frames(double count, int length) {
  const double bytes = count * length * static_cast<double>(sizeof(mx::complex64_t));
  if (bytes > static_cast<double>(array_limit())) {
    throw Error(std::format("the frames take {:.1f} GB, and the array limit is {:.1f} GB", bytes / 1e9,
                            static_cast<double>(array_limit()) / 1e9));
  }
}

}  // namespace

int unique(mlx_vector_array* results, mlx_array a, int size, bool return_index, bool return_inverse, bool return_counts,
           mlx_array fill_value, mlx_stream s) {
  require_all({a});
  return set_results(results, mx::unique(array_of(a), size, return_index, return_inverse, return_counts,
                                         optional_array(fill_value), stream_of(s)));
}

int fft_stft(mlx_array* result, mlx_array x, int n_fft, int hop_length, int win_length, mlx_array window, bool center,
             const char* pad_mode, mlx_fft_norm norm, bool onesided, mlx_stream s) {
  require_all({x});
  check_frames(n_fft, hop_length, win_length);
  if (mlx_array_ndim(x) == 0 || mlx_array_size(x) == 0) {
    throw ArgumentError("expected samples");
  }
  const int samples = shape_of(x).back();
  if (center && std::string_view(pad_mode) == "reflect" && n_fft / 2 >= samples) {
    throw ArgumentError(std::format("{} samples are too few to be mirrored over half a length of {}", samples, n_fft));
  }
  const auto rows = static_cast<double>(mlx_array_size(x)) / samples;
  check_memory_of_frames(rows * (1.0 + static_cast<double>(samples) / hop_length), n_fft);
  return set_result(
      result, mx::fft::stft(in_rows(array_of(x), stream_of(s)), n_fft, hop_length, win_length, optional_array(window),
                            center, pad_mode, norm_of(norm), onesided, stream_of(s)));
}

int fft_istft(mlx_array* result, mlx_array spectrum, int n_fft, int hop_length, int win_length, mlx_array window,
              bool center, mlx_fft_norm norm, bool onesided, mlx_optional_int length, mlx_stream s) {
  require_all({spectrum});
  check_frames(n_fft, hop_length, win_length);
  if (mlx_array_ndim(spectrum) < 2 || mlx_array_size(spectrum) == 0) {
    throw ArgumentError("expected a spectrum of at least 2 axes");
  }
  if (length.has_value && length.value < 0) {
    throw ArgumentError("expected a number of samples that is not negative");
  }
  const auto shape = shape_of(spectrum);
  const double frames = shape.back();
  const bool long_result =
      (frames * hop_length + n_fft) > largest_length || (length.has_value && length.value > largest_length);
  if (hop_length > n_fft || long_result) {
    throw ArgumentError("expected a hop that is not longer than the length, and fewer than 2^30 samples");
  }
  check_memory_of_frames(static_cast<double>(mlx_array_size(spectrum)) / shape[shape.size() - 2], n_fft);
  return set_result(result, mx::fft::istft(array_of(spectrum), n_fft, hop_length, win_length, optional_array(window),
                                           center, norm_of(norm), onesided, optional_int(length), stream_of(s)));
}

int fast_gated_delta_update(mlx_vector_array* results, mlx_array queries, mlx_array keys, mlx_array values,
                            mlx_array gates, mlx_array beta, mlx_array initial_state, mlx_array mask, mlx_stream s) {
  require_axes({queries, keys, values}, 4);
  require_axes({gates, beta}, 3);
  const auto key = shape_of(keys);
  const auto value = shape_of(values);
  const int batch = key[0];
  const int length = key[1];
  if (length == 0 || key[2] == 0 || value[2] % key[2] != 0) {
    throw ArgumentError("expected a sequence, and heads of values that are a multiple of those of keys");
  }
  require_shape(queries, "queries", {batch, length, key[2], key[3]});
  require_shape(values, "values", {batch, length, value[2], value[3]});
  require_shape(gates, "gates", {batch, length, value[2]});
  require_shape(beta, "beta", {batch, length, value[2]});
  require_shape(initial_state, "an initial state", {batch, value[2], value[3], key[3]});
  require_shape(mask, "a mask", {batch, length});
  return set_results(results, mx::fast::gated_delta_update(
                                  array_of(queries), array_of(keys), array_of(values), array_of(gates), array_of(beta),
                                  optional_array(initial_state), optional_array(mask), stream_of(s)));
}

int gather_qmm_scaled(mlx_array* result, mlx_array x, mlx_array w, mlx_array scales, mlx_array biases,
                      mlx_array lhs_indices, mlx_array rhs_indices, bool transpose, mlx_optional_int group_size,
                      mlx_optional_int bits, const char* mode, mlx_array global_scale, bool sorted_indices,
                      mlx_stream s) {
  return set_result(result, mx::gather_qmm(array_of(x), array_of(w), array_of(scales), optional_array(biases),
                                           optional_array(lhs_indices), optional_array(rhs_indices), transpose,
                                           optional_int(group_size), optional_int(bits), mode,
                                           optional_array(global_scale), sorted_indices, stream_of(s)));
}

}  // namespace mlx_nif
