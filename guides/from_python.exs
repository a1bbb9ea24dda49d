defmodule Mlx.Guides.FromPython do
  @moduledoc false
  # The guide "From Python to Elixir", made of a text and of the table of names (`Mlx.PythonNames`):
  #
  #     mix guide

  @guide Path.join(__DIR__, "from_python_to_elixir.md")

  @introduction """
  # From Python to Elixir

  <!-- Made by `mix guide` of test/descriptions, guides/from_python_to_elixir.tsv and guides/from_python.exs. -->

  The same library is below, so what MLX does in Python it does here: the same types, the same weak scalars, the same
  random numbers for the same seed. What differs is how it is written.

  ```python
  x = mx.array([[1.0, 2.0], [3.0, 4.0]])
  y = mx.softmax((x * 2).sum(axis=1), axis=-1)
  x[0, 1] = 5.0
  ```

  ```elixir
  x = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
  y = x |> Mlx.multiply(2) |> Mlx.sum(axes: 1) |> Mlx.softmax(axes: -1)
  x = Mlx.put_at(x, [0, 1], 5.0)
  ```

  - **Functions, not methods.** The array comes first, so that calls line up with `|>`.
  - **Operators.** `use Mlx.Operators` gives `+ - * / **`, `max` and `min`, comparisons, `&&& ||| ~~~ <<< >>>` for
    `& | ~ << >>`, and `<~>` for `@`. `<~>` binds less than `+` and `*`, so write `(x <~> w) + b`; `x <~> w + b` does not
    compile. Without it these are Elixir's own: `max(x, 0)` compares terms and computes nothing.
  - **Conditions.** A comparison is an array, and an array is always true to `if`. Python's `if (x > 0).all():` is
    `if Mlx.to_number(Mlx.all(Mlx.greater(x, 0))) do`.
  - **Names.** Things are called as in MLX, operations as in Nx: `subtract`, `reduce_max`, `as_type`, `new_axis`. Python
    has several names for some functions (`abs` and `absolute`, `concat` and `concatenate`); here each has one.
  - **Options.** What says how is a keyword at the end: `axes:` and `keep_axes:` for `axis=` and `keepdims=`, `type:` for
    `dtype=`, `stream:` for `stream=`. A shape is a tuple, and may be a list or the size of the only axis; a list of axes
    is a list, `None` is `nil`, a string that chooses (`"full"`) is an atom (`:full`).
  - **Types** are atoms such as `:f32`, `:bf16`, `:s32`, `:u8`, `:bool` and `:c64`. A list of integers becomes `:s32`, one
    with a float `:f32`.
  - **Infinity and NaN** are the atoms `:infinity`, `:neg_infinity` and `:nan`, wherever a number may stand and in what
    `Mlx.to_list/1` returns. A complex number is `{real, imaginary}`.
  - **Arrays never change.** `x[index] = v` is `x = Mlx.put_at(x, index, v)`, `x.at[index].add(v)` is
    `Mlx.add_at(x, index, v)`, and `x += y` is `x = Mlx.add(x, y)`.
  - **Indexing.** `x[0]`, `x[[0, 1]]` for Python's `x[0, 1]`, `x[[.., -1]]` for `x[:, -1]`, `:...` and `:new_axis`. A range
    includes its last element, as everywhere in Elixir, and one that reaches outside is cut to the axis, as in Python. A
    list inside the brackets is an array of indices: `x[[[0, 2]]]`. See `Mlx.at/2`.
  - **Laziness** is the same: an operation adds a node to a graph, and `Mlx.eval/1` or reading a value computes it.
    `Mlx.eval/1` takes one container of arrays and returns it.
  - **Randomness.** Keys are given with `key:`. Without a key each process has a sequence of its own, started by
    `Mlx.Random.seed/1`; for the same seed it is Python's. `Mlx.Random.state/0` and `with_state/2` are what
    `mx.random.state` is for: random numbers in compiled functions.
  - **Devices and streams** are chosen by `Mlx.with_device/2` and `Mlx.with_stream/2` in place of `with` blocks, for the
    calling process. Any process can use any stream and any array.
  - **Errors.** Wrong arguments raise `ArgumentError`, and what MLX refuses raises `Mlx.Error`; both name the function.
    Input that ends a Python process, such as an index far out of bounds or an integer divided by zero, gives an error or
    a defined value.
  - **Layers** are structs and never change: `x |> Mlx.NN.forward(layer)` for `layer(x)`. What a call changes comes back from
    `Mlx.NN.value_and_grad/2` and `Mlx.NN.run/2`, the mode is that of a copy (`Mlx.NN.eval/1`), and what is trained is a
    choice (`Mlx.NN.freeze/2`).

  The rest lists every public name of Python's `mlx.core`, `mlx.nn`, `mlx.optimizers` and `mlx.utils`.
  """

  @doc "The path of the guide."
  @spec path() :: Path.t()
  def path, do: @guide

  @doc "The text of the guide."
  @spec text() :: String.t()
  def text, do: Enum.join([@introduction | Enum.map(sections(Mlx.PythonNames.rows()), &section/1)], "\n")

  @doc "Writes the guide."
  @spec write() :: :ok
  def write, do: File.write!(@guide, text())

  # The members of a module or class are one section. Those of `mlx.core` itself come first.
  defp sections(rows) do
    rows
    |> Enum.group_by(&owner(&1.python))
    |> Enum.sort_by(fn {owner, _rows} -> {length(String.split(owner, ".")), String.downcase(owner)} end)
  end

  defp owner(name), do: String.replace(name, ~r/\.[^.]+$/, "")

  defp section({owner, rows}) do
    """
    ## `#{owner}`

    | Python | Elixir | |
    | --- | --- | --- |
    #{rows |> Enum.sort_by(&sort_key/1) |> Enum.map_join("\n", &line/1)}
    """
  end

  # Operators and protocols last.
  defp sort_key(%{python: python}), do: {String.contains?(python, ".__"), String.downcase(python), python}

  defp line(%{python: python, elixir: elixir, note: note}) do
    counterpart = if elixir == [], do: "none", else: Enum.map_join(elixir, ", ", &"`#{&1}`")
    "| `#{python |> String.split(".") |> List.last()}` | #{counterpart} | #{escape(note)} |"
  end

  defp escape(text), do: String.replace(text, "|", "\\|")
end
