# MLX's own Python tests, which bin/conformance runs.
# shellcheck shell=bash disable=SC2154

mlx_tests_folder() { echo "$cache/mlx-$(version_of mlx-tests)-tests"; }

get_mlx_tests() {
  local version origin
  version=$(version_of mlx-tests)
  origin=$(source_field mlx-tests 4)
  origin=${origin#crate:}
  part_folder
  crate_tree "${origin%@*}" "${origin#*@}" vendor/mlx/python/tests "$part/tests" || mlx_tests_from_upstream "$version" ||
    fail "the tests of MLX $version could not be downloaded, neither with cargo nor with curl (see $log)"
  check_sum "the tests of MLX $version" "$(source_field mlx-tests 5)" "$(tree_sha256 "$part" tests)"
  mv "$part/tests" "$(mlx_tests_folder)"
}

mlx_tests_from_upstream() {
  mlx_from_upstream "$1" python/tests && mv "$part/mlx-$1/python/tests" "$part/tests"
}
