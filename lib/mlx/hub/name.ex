defmodule Mlx.Hub.Name do
  @moduledoc false
  # What users and servers may name: repositories, revisions, commits, files and blobs. All of them become parts of paths,
  # so that none may lead out of the folder that it is put in.

  alias Mlx.Arguments.Given

  @most_bytes 96
  @part ~r/\A[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\z/
  @commit ~r/\A[0-9a-f]{40}([0-9a-f]{24})?\z/
  @etag ~r/\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\z/

  @doc "The repository and the revision of `name` or `name@revision`; the revision is nil where none is given."
  @spec parse(String.t()) :: {:ok, String.t(), String.t() | nil} | {:error, String.t()}
  def parse(text) do
    {repository, revision} =
      case String.split(text, "@", parts: 2) do
        [repository, revision] -> {repository, revision}
        [repository] -> {repository, nil}
      end

    cond do
      not repository?(repository) -> {:error, expected_repository(text)}
      revision != nil and not revision?(revision) -> {:error, expected_revision(revision)}
      true -> {:ok, repository, revision}
    end
  end

  @doc "The same, or an error."
  @spec parse!(String.t()) :: {String.t(), String.t() | nil}
  def parse!(text) do
    case parse(text) do
      {:ok, repository, revision} -> {repository, revision}
      {:error, problem} -> raise ArgumentError, problem
    end
  end

  defp expected_repository(text) do
    "expected the name of a repository such as \"mlx-community/Qwen3-0.6B-4bit\" (letters, digits, \"-\", \"_\" and " <>
      "\".\", no \"--\" and no \"..\"), got: #{Given.text(text)}"
  end

  @doc "What is said of a revision that is none."
  @spec expected_revision(term()) :: String.t()
  def expected_revision(other) do
    "expected a revision to be a branch, a tag or a commit such as \"main\", got: #{Given.text(other)}"
  end

  @doc "Whether a text names a repository, with or without its owner."
  @spec repository?(String.t()) :: boolean()
  def repository?(text) do
    parts = String.split(text, "/")

    length(parts) <= 2 and Enum.all?(parts, &(byte_size(&1) <= @most_bytes and &1 =~ @part)) and
      not String.contains?(text, ["--", ".."]) and not String.ends_with?(text, ".git")
  end

  @doc "Whether a text names a revision."
  @spec revision?(term()) :: boolean()
  def revision?(text), do: path?(text) and not String.contains?(text, [" ", "?", "#", "%"]) and byte_size(text) <= 200

  @doc "Whether a text is the hash of a commit."
  @spec commit?(term()) :: boolean()
  def commit?(text), do: is_binary(text) and text =~ @commit

  @doc "Whether a server's entity tag can be the name of a blob."
  @spec etag?(term()) :: boolean()
  def etag?(text), do: is_binary(text) and text =~ @etag

  @doc "Whether a text is the path of a file in a repository, on any system below the folder that it is put in."
  @spec path?(term()) :: boolean()
  def path?(text) do
    is_binary(text) and text != "" and byte_size(text) <= 1000 and String.valid?(text) and
      not (text =~ ~r/[\x00-\x1f\x7f\\]|\A[A-Za-z]:/) and
      Enum.all?(String.split(text, "/"), &(&1 not in ["", ".", ".."]))
  end

  @doc "The name of a repository's folder in the cache."
  @spec folder(String.t()) :: String.t()
  def folder(repository), do: "models--" <> String.replace(repository, "/", "--")

  @doc "The repository whose folder has this name, or nil."
  @spec of_folder(String.t()) :: String.t() | nil
  def of_folder("models--" <> rest) do
    repository = String.replace(rest, "--", "/")
    if repository?(repository), do: repository
  end

  def of_folder(_other), do: nil
end
