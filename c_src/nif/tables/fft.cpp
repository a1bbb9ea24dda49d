// Fourier transforms.
#include "core/guards/mapping_rules.hpp"
#include "core/operations/newer_operations.hpp"
#include "nif/functions/operation.hpp"
#include "nif/tables/tables.hpp"

namespace mlx_nif {

std::vector<ErlNifFunc> fft_operations() {
  return {
      operation<"fft_fft", &mlx_fft_fft>(),
      operation<"fft_fft2", &mlx_fft_fft2>(),
      operation<"fft_fftfreq", &mlx_fft_fftfreq>(),
      operation<"fft_fftn", &mlx_fft_fftn>(),
      operation<"fft_fftshift", &mlx_fft_fftshift>(),
      operation<"fft_ifft", &mlx_fft_ifft>(),
      operation<"fft_ifft2", &mlx_fft_ifft2>(),
      operation<"fft_ifftn", &mlx_fft_ifftn>(),
      operation<"fft_ifftshift", &mlx_fft_ifftshift>(),
      operation<"fft_irfft", &mlx_fft_irfft>(),
      operation<"fft_irfft2", &mlx_fft_irfft2>(),
      operation<"fft_irfftn", &mlx_fft_irfftn>(),
      operation<"fft_istft", &fft_istft>(),
      operation<"fft_rfft", &mlx_fft_rfft>(),
      operation<"fft_rfft2", &mlx_fft_rfft2>(),
      operation<"fft_rfftfreq", &mlx_fft_rfftfreq>(),
      operation<"fft_rfftn", &mlx_fft_rfftn>(),
      operation<"fft_stft", mapped_in_front<&fft_stft>>(),
  };
}

}  // namespace mlx_nif
