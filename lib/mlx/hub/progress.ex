defmodule Mlx.Hub.Progress do
  @moduledoc false
  # How far a download is, for a function of the caller or as a bar on standard error, one line that is written anew.

  @width 20
  @megabyte 1.0e6

  defstruct [:name, :target, :start, :first, files: 0, total: 0, shown: false]

  @type t :: %__MODULE__{}

  @doc "The progress of `files` files of `total` bytes together, of which `first` were here already."
  @spec new(String.t(), boolean() | (map() -> term()), non_neg_integer(), non_neg_integer(), non_neg_integer()) :: t()
  def new(name, target, files, total, first) do
    %__MODULE__{name: name, target: target, files: files, total: total, first: first, start: now()}
  end

  @doc "Tells that so many files are complete, and how many bytes are here."
  @spec tell(t(), non_neg_integer(), non_neg_integer()) :: t()
  def tell(%{target: false} = progress, _files, _bytes), do: progress

  def tell(%{target: true} = progress, files, bytes) do
    IO.write(:stderr, ["\r", line(progress, files, bytes, now() - progress.start), "\e[K"])
    %{progress | shown: true}
  end

  def tell(%{target: fun} = progress, files, bytes) do
    fun.(%{name: progress.name, files: files, of_files: progress.files, bytes: bytes, of_bytes: progress.total})
    progress
  end

  @doc "Ends the line."
  @spec finish(t()) :: :ok
  def finish(%{shown: true}), do: IO.write(:stderr, "\n")
  def finish(_progress), do: :ok

  @doc "The line of a bar after so many milliseconds."
  @spec line(t(), non_neg_integer(), non_neg_integer(), non_neg_integer()) :: String.t()
  def line(progress, files, bytes, milliseconds) do
    part = if progress.total > 0, do: min(bytes / progress.total, 1.0), else: 1.0
    filled = round(part * @width)
    bar = String.duplicate("#", filled) <> String.duplicate(".", @width - filled)
    count = "#{files}/#{progress.files} #{if progress.files == 1, do: "file", else: "files"}"

    "#{progress.name}: [#{bar}] #{round(part * 100)} %, #{count}, #{megabytes(bytes)} of #{megabytes(progress.total)} MB" <>
      speed(progress, bytes, milliseconds)
  end

  defp speed(progress, bytes, milliseconds) when milliseconds > 0 and bytes > progress.first do
    rate = (bytes - progress.first) / milliseconds * 1000
    left = round(max(progress.total - bytes, 0) / rate)
    ", #{Float.round(rate / @megabyte, 1)} MB/s, #{left} s left"
  end

  defp speed(_progress, _bytes, _milliseconds), do: ""

  defp megabytes(bytes), do: Float.round(bytes / @megabyte, 1)

  defp now, do: System.monotonic_time(:millisecond)
end
