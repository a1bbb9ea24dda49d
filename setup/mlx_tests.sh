# MLX's own Python tests, which bin/conformance runs.
# shellcheck shell=bash disable=SC2154

mlx_tests_folder() { echo "$cache/mlx-$(version_of mlx-tests)-tests"; }

get_mlx_tests() {
  local version
  version=$(version_of mlx-tests)
  part_folder
  mlx_from_crate mlx-tests || mlx_from_upstream "$version" python/tests ||
    fail_download "the tests of MLX $version could not be downloaded, neither with cargo nor with curl, which said"
  check_sum "the tests of MLX $version" "$(source_field mlx-tests 5)" "$(tree_sha256 "$part/mlx-$version/python" tests)"
  mv "$part/mlx-$version/python/tests" "$(mlx_tests_folder)"
}
