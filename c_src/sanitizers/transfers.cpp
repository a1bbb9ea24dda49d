// Reads and writes values while others compute with them.
#include "sanitizers/transfers.hpp"

#include <array>
#include <filesystem>
#include <format>
#include <fstream>
#include <vector>

#include "core/array/uploads.hpp"
#include "core/evaluation/values.hpp"
#include "sanitizers/crowd.hpp"
#include "sanitizers/operations.hpp"

namespace mlx_nif::stress {
namespace {

void save(const std::filesystem::path& path, const ArrayHandle& value) {
  const auto bytes = bytes_of(value.get(), Waiting::unlimited);
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

Reference uploaded(float number, int count) {
  return call([&](Waiting) {
    const std::vector<float> elements(static_cast<std::size_t>(count), number);
    return evaluated(upload_into_kept_buffer(elements.data(), std::array{count}, MLX_FLOAT32));
  });
}

float load_first(const std::filesystem::path& path) {
  float element = 0;
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(&element), sizeof(element));
  return element;
}

}  // namespace

void saved_values() {
  const Reference shared = matrix(3, 64);
  in_parallel([&](int index) {
    const auto path = std::filesystem::temp_directory_path() / std::format("mlx_stress_{}.bin", index);
    for (int round = 0; round < rounds; ++round) {
      const auto number = static_cast<float>(round % 7);
      const Reference sum = add(shared, number);
      if (index % 2 == 1) {
        expect_equal(read(matmul(sum, shared)), 64 * 3 * (3 + number), "a product beside saving");
        continue;
      }
      for (const Reference& array : {sum, shared}) {
        save(path, hold(array));
        expect_equal(load_first(path), array == sum ? 3 + number : 3, "a saved value");
      }
    }
    std::filesystem::remove(path);
  });
}

void uploaded_elements() {
  in_parallel([](int index) {
    for (int round = 0; round < rounds; ++round) {
      const auto number = static_cast<float>(round % 7 + index);
      const Reference elements = uploaded(number, 4 << (round % 12));
      const Reference sum = add(elements, 1);
      expect_equal(read(sum), number + 1, "a sum over uploaded elements");
      expect_equal(read(elements), number, "uploaded elements");
      if (index == 0 && round % 5 == 0) {
        free_buffers_kept_for_uploads();
      } else if (index == 1 && bytes_kept_for_uploads() > (std::size_t{16} << 20)) {
        fail("more is kept for uploads than there may be");
      }
    }
  });
  free_buffers_kept_for_uploads();
}

}  // namespace mlx_nif::stress
