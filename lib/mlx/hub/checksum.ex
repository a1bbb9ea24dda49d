defmodule Mlx.Hub.Checksum do
  @moduledoc false
  # Whether bytes are those that an entity tag names: the SHA-256 of a large file (Git LFS), or Git's SHA-1 of any other, which
  # is that of its length and its bytes. A tag of another form says nothing of the bytes.

  @piece 1024 * 1024

  @type t :: {:sha256 | :sha, :crypto.hash_state(), String.t()} | :none

  @doc "The checksum of no bytes yet. Git's needs the size of the whole."
  @spec new(String.t(), non_neg_integer() | nil) :: t()
  def new(etag, size) do
    cond do
      etag =~ ~r/\A[0-9a-f]{64}\z/ ->
        {:sha256, :crypto.hash_init(:sha256), etag}

      etag =~ ~r/\A[0-9a-f]{40}\z/ and size != nil ->
        {:sha, :crypto.hash_update(:crypto.hash_init(:sha), "blob #{size}\0"), etag}

      true ->
        :none
    end
  end

  @doc "The checksum with more bytes."
  @spec update(t(), binary()) :: t()
  def update(:none, _bytes), do: :none
  def update({kind, state, etag}, bytes), do: {kind, :crypto.hash_update(state, bytes), etag}

  @doc "The checksum with the bytes of a file."
  @spec update_with_file(t(), Path.t()) :: t()
  def update_with_file(:none, _path), do: :none
  def update_with_file(checksum, path), do: path |> File.stream!(@piece) |> Enum.reduce(checksum, &update(&2, &1))

  @doc "Whether the bytes are those of the tag."
  @spec right?(t()) :: boolean()
  def right?(:none), do: true
  def right?({_kind, state, etag}), do: Base.encode16(:crypto.hash_final(state), case: :lower) == etag
end
