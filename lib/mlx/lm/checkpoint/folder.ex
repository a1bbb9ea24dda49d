defmodule Mlx.LM.Checkpoint.Folder do
  @moduledoc false
  # A folder that is whole or not there, with a model's tensors, its settings and files beside them.
  #
  # Everything is written into a folder with another name, which takes its own at the end. The other name begins with a
  # dot, as those of files do that are being written. Tensors stand in a table while they are written, one after the
  # other: nobody else holds them, so that a tensor that is written is gone.

  alias Mlx.Array
  alias Mlx.IO.{Failure, Safetensors, WholeFile}
  alias Mlx.Values.Reading

  @index "model.safetensors.index.json"

  @doc """
  Has a function fill a new folder, whose path it gets, and gives it its name.

  Raises `Mlx.Error` where there is something of the name already but an empty folder, and when nothing can be written.
  """
  @spec create(Path.t(), (Path.t() -> term())) :: :ok
  def create(folder, fill) do
    check_free!(folder)
    parent = folder |> Path.expand() |> Path.dirname()
    temporary = Path.join(parent, ".mlx-#{System.pid()}-#{System.unique_integer([:positive])}.tmp")

    Failure.about("cannot write #{folder}", fn ->
      File.mkdir_p!(parent)
      ok!(File.mkdir(temporary), folder)

      try do
        fill.(temporary)
        ok!(:file.rename(temporary, folder), folder)
      after
        File.rm_rf(temporary)
      end
    end)
  end

  @doc "Raises `Mlx.Error` where a folder cannot be created."
  @spec check_free!(Path.t()) :: :ok
  def check_free!(folder) do
    case File.ls(folder) do
      {:error, :enoent} -> :ok
      {:ok, []} -> :ok
      {:ok, _files} -> raise Mlx.Error, "#{folder} is there already; choose another folder, or delete it"
      {:error, reason} -> raise Mlx.Error, "#{folder} cannot be written: #{:file.format_error(reason)}"
    end
  end

  defp ok!(:ok, _path), do: :ok
  defp ok!({:error, reason}, path), do: raise(File.Error, reason: reason, action: "write", path: path)

  @doc "A table with tensors, in their order, and what is known of them: `{name, shape and type}`."
  @spec table([{String.t(), Array.t()}]) :: {:ets.table(), [{String.t(), %{shape: Array.shape(), type: Mlx.Type.t()}}]}
  def table(tensors) do
    table = :ets.new(__MODULE__, [:set, :private])
    :ets.insert(table, tensors)
    {table, for({name, %Array{shape: shape, type: type}} <- tensors, do: {name, %{shape: shape, type: type}})}
  end

  @doc """
  Writes the tensors of a table, which is empty then, in files of at most `size` bytes, but for single tensors that are
  larger, and the index of these files. `parameters` is told there, and `report` gets `{:tensors, done, total}`.
  """
  @spec write_tensors(Path.t(), {:ets.table(), list()}, pos_integer(), non_neg_integer(), (tuple() -> term())) :: :ok
  def write_tensors(folder, {table, kinds}, size, parameters, report) do
    shards = shards(kinds, size)
    files = for number <- 1..length(shards)//1, do: file(number, length(shards))
    total = length(kinds)
    report.({:tensors, 0, total})
    read = fn name -> read(table, name, total, report) end

    for {file, shard} <- Enum.zip(files, shards) do
      WholeFile.write(Path.join(folder, file), Safetensors.pieces(shard, %{"format" => "mlx"}, read))
    end

    map = for {file, shard} <- Enum.zip(files, shards), {name, _kind} <- shard, into: %{}, do: {name, file}
    sizes = %{"total_size" => Enum.sum_by(kinds, &bytes/1), "total_parameters" => parameters}
    write_json(folder, @index, %{"metadata" => sizes, "weight_map" => map})
  end

  defp read(table, name, total, report) do
    [{^name, array}] = :ets.take(table, name)
    bytes = Reading.to_binary(array)
    report.({:tensors, total - :ets.info(table, :size), total})
    bytes
  end

  defp shards(kinds, size) do
    {shards, last, _bytes} =
      Enum.reduce(kinds, {[], [], 0}, fn kind, {shards, shard, bytes} ->
        if shard != [] and bytes + bytes(kind) > size,
          do: {[shard | shards], [kind], bytes(kind)},
          else: {shards, [kind | shard], bytes + bytes(kind)}
      end)

    Enum.reverse([last | shards])
  end

  defp bytes({_name, %{shape: shape, type: type}}), do: Tuple.product(shape) * Mlx.Type.bytes(type)

  defp file(1, 1), do: "model.safetensors"
  defp file(number, count), do: "model-#{padded(number)}-of-#{padded(count)}.safetensors"

  defp padded(number), do: number |> Integer.to_string() |> String.pad_leading(5, "0")

  @doc "Writes a JSON file, with keys in order and a line for each value."
  @spec write_json(Path.t(), String.t(), map()) :: :ok
  def write_json(folder, name, value), do: WholeFile.write(Path.join(folder, name), [pretty(value, "\n")])

  defp pretty(map, line) when is_map(map) and map != %{} do
    inner = line <> "    "
    pairs = for {key, value} <- Enum.sort(map), do: [inner, JSON.encode!(key), ": ", pretty(value, inner)]
    [?{, Enum.intersperse(pairs, ?,), line, ?}]
  end

  defp pretty([_ | _] = list, line) do
    inner = line <> "    "
    [?[, list |> Enum.map(&[inner, pretty(&1, inner)]) |> Enum.intersperse(?,), line, ?]]
  end

  # As Python writes and reads it; `Mlx.LM.JSONFile` reads it as a string.
  defp pretty(infinity, _line) when infinity in ["Infinity", "-Infinity"], do: infinity
  defp pretty(other, _line), do: JSON.encode!(other)

  @doc "Copies the files of a folder that match patterns and are not there yet."
  @spec copy(Path.t(), Path.t(), [String.t()]) :: :ok
  def copy(from, folder, patterns) do
    for pattern <- patterns, path <- Path.wildcard(Path.join(from, pattern)), File.regular?(path) do
      target = Path.join(folder, Path.relative_to(path, from))

      if not File.exists?(target) do
        File.mkdir_p!(Path.dirname(target))
        ok!(with({:ok, _bytes} <- File.copy(path, target), do: :ok), target)
      end
    end

    :ok
  end
end
