defmodule Mlx.LM.Names do
  @moduledoc false
  # What tensors of files are called in a decoder.

  # Parts of models for pictures and sounds, and tables that are computed here.
  @dropped ~w(vision_tower vision_model vision_encoder visual multi_modal_projector mm_projector patch_merger
              image_newline audio_tower embed_audio embed_vision rotary_emb.inv_freq attention.rope.inv_freq
              self_attn.masked_bias)

  @prefixes [
    {"model.language_model.model.", "model."},
    {"language_model.model.", "model."},
    {"model.language_model.", "model."},
    {"language_model.lm_head.", "lm_head."},
    {"language_model.", ""}
  ]

  @doc "The name in a decoder, or nil for a tensor that it does not have."
  @spec ours(String.t(), [{String.t(), String.t()}]) :: String.t() | nil
  def ours(name, names) do
    if Enum.any?(@dropped, &inside?(name, &1)) do
      nil
    else
      replaced("." <> without_prefix(name), Enum.sort_by(names, fn {theirs, _ours} -> -byte_size(theirs) end))
    end
  end

  defp inside?(name, part), do: String.contains?("." <> name <> ".", "." <> part <> ".")

  defp without_prefix(name) do
    Enum.find_value(@prefixes, name, fn {prefix, ours} ->
      if String.starts_with?(name, prefix), do: String.replace_prefix(name, prefix, ours)
    end)
  end

  defp replaced("." <> name, []), do: name

  # What was replaced is between two marks, so that it is not replaced again.
  defp replaced(name, names) do
    names
    |> Enum.reduce(name <> ".", fn {theirs, ours}, name ->
      String.replace(name, "." <> theirs <> ".", ".\0" <> String.replace(ours, ".", "\1") <> ".", global: false)
    end)
    |> String.replace("\0", "")
    |> String.replace("\1", ".")
    |> String.trim(".")
  end
end
