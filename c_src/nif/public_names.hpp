// Native functions whose Elixir function has a name that does not follow from theirs.
#pragma once

#include <array>
#include <string_view>
#include <utility>

namespace mlx_nif {

inline constexpr auto public_names = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"max", "Mlx.reduce_max"},
});

}  // namespace mlx_nif
