# MLX's own Python tests, which bin/conformance runs.
# shellcheck shell=bash disable=SC2154

mlx_tests_folder() { echo "$cache/mlx-$(version_of mlx-tests)-tests"; }

get_mlx_tests() {
  local origin
  origin=$(source_field mlx-tests 4)
  origin=${origin#crate:}
  part_folder
  crate_tree "${origin%@*}" "${origin#*@}" vendor/mlx/python/tests "$part/tests" ||
    fail "the tests of MLX $(version_of mlx-tests) come in the crate $origin, and cargo could not download it (see $log)"
  check_sum "the tests of MLX $(version_of mlx-tests)" "$(source_field mlx-tests 5)" "$(tree_sha256 "$part" tests)"
  mv "$part/tests" "$(mlx_tests_folder)"
}
