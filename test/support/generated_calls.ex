defmodule Mlx.GeneratedCalls do
  @moduledoc """
  Made-up calls of native functions, most of them wrong: the same ones for the same seed, so that a call is known by its
  number alone.

  For each valid call of a function (`Mlx.NativeArguments`) every argument in turn becomes each of a list of wrong
  things. Then come random calls: valid ones with a few arguments changed a little, and free ones.
  """

  import Mlx.Argument, only: [array: 1, array: 2, array: 3, array: 4]

  alias Mlx.{Argument, NativeArguments}

  @lists [
    [],
    [0],
    [1],
    [-1],
    [0, 1],
    [1, 0],
    [0, 0],
    [1, 2, 3],
    [0, 0, 0, 0],
    [-1, -1],
    [2_147_483_647],
    [2_147_483_647, 2_147_483_647],
    [-2_147_483_648],
    [65_536, 65_536],
    [9_223_372_036_854_775_807],
    [18_446_744_073_709_551_616],
    List.duplicate(1, 100),
    [nil],
    [:a],
    [1.5],
    [[1]],
    [1 | 2],
    {},
    {1, 2},
    {1.5, 2.5},
    {1, :a},
    {1, 2, 3}
  ]

  @scalars [
    nil,
    true,
    false,
    :nan,
    :infinity,
    :neg_infinity,
    :an_atom,
    "",
    "text",
    <<255, 0, 1>>,
    0,
    1,
    -1,
    7,
    1_000_000,
    2_147_483_647,
    2_147_483_648,
    -2_147_483_648,
    9_223_372_036_854_775_807,
    -9_223_372_036_854_775_808,
    18_446_744_073_709_551_615,
    18_446_744_073_709_551_616,
    -1 * Integer.pow(2, 200),
    1.5,
    -0.0,
    1.0e308,
    %{},
    %{ref: nil},
    %{"a" => 1}
  ]

  @wrong @scalars ++
           @lists ++
           Enum.map(Argument.specials(), &{:special, &1}) ++
           Enum.map(Argument.types(), &array({4, 4}, &1)) ++
           Enum.map([{}, {0}, {1}, {3}, {0, 3}, {3, 0}, {2, 3, 4}, {1, 1, 1, 1, 1, 1, 1, 1}], &array/1) ++
           Enum.map([{}, {0}, {2}], &array(&1, :s32)) ++
           [array({4, 4}, :f32, :special), array({4, 4}, :s32, :extreme), array({4, 4}, :s64, :negative)] ++
           [[array({4, 4})], [array({4, 4}), nil], [{:special, :deallocated}], List.duplicate(array({2}), 40)]

  @shapes [
    {},
    {0},
    {1},
    {2},
    {3},
    {4},
    {8},
    {17},
    {0, 4},
    {4, 0},
    {1, 1},
    {1, 4},
    {4, 1},
    {3, 4},
    {4, 4},
    {4, 5},
    {2, 64},
    {64, 64},
    {2, 3, 4},
    {0, 3, 4},
    {4, 4, 4},
    {1, 2, 3, 8},
    {1, 5, 5, 2},
    {1, 2, 1, 2, 2}
  ]

  @integers [
              -2_147_483_648,
              -2_147_483_647,
              -65_537,
              -9,
              -3,
              -2,
              -1,
              0,
              1,
              2,
              3,
              4,
              5,
              8,
              16,
              32,
              33,
              64,
              128,
              1000,
              65_536
            ] ++
              [1_000_000, 1_073_741_824, 2_147_483_646, 2_147_483_647]

  @texts [
           "affine",
           "mxfp4",
           "mxfp8",
           "nvfp4",
           "causal",
           "array",
           "constant",
           "edge",
           "left",
           "right",
           "L",
           "U",
           "l",
           "xy"
         ] ++
           ["ij", "fro", "f", "nuc", "", "ij,jk->ik", "ij->ji", "ii->", "i,i->i", "->", ",", "i->ii", "ij,jk", "i...j"]

  @random_calls 150

  @doc "The calls of a function, as descriptions of arguments (`Mlx.Argument`)."
  @spec of(atom(), integer()) :: Enumerable.t([Argument.description()])
  def of(name, seed), do: Stream.concat(systematic(name), random(name, seed))

  defp systematic(name) do
    [example | _] = examples = NativeArguments.examples(name)

    Stream.concat(
      examples,
      for(position <- 0..(length(example) - 1)//1, wrong <- @wrong, do: List.replace_at(example, position, wrong))
    )
  end

  defp random(name, seed) do
    case NativeArguments.kinds(name) do
      [] ->
        []

      kinds ->
        Stream.unfold({:rand.seed_s(:exsss, {seed, :erlang.phash2(name), 1}), 0}, fn {state, count} ->
          if count < @random_calls * (1 + div(length(kinds), 4)) do
            # The generator's functions use the state of the process, which is set anew for each call.
            :rand.seed(state)
            call = random_call(name, kinds)
            {call, {:rand.export_seed(), count + 1}}
          end
        end)
    end
  end

  defp random_call(name, kinds) do
    case pick([:near, :near, :near, :free]) do
      :near -> name |> NativeArguments.examples() |> pick() |> Enum.zip_with(kinds, &change/2)
      :free -> free_call(kinds)
    end
  end

  # Arrays of one shape and type are more often right than others.
  defp free_call(kinds) do
    shape = pick(@shapes)
    type = pick(Argument.types())

    Enum.map(kinds, fn kind ->
      if kind in [:array, :optional_array] and chance(2),
        do: array(shape, type, pick(Argument.contents()), pick(Argument.layouts())),
        else: plausible(kind)
    end)
  end

  defp change(argument, kind) do
    case :rand.uniform(20) do
      n when n <= 12 -> argument
      n when n <= 16 -> nudge(argument, kind)
      n when n <= 19 -> plausible(kind)
      20 -> pick(@wrong)
    end
  end

  # Something close to the argument.
  defp nudge({:array, shape, type, content, layout}, _kind) do
    case :rand.uniform(4) do
      1 -> array(nudge_shape(shape), type, content, layout)
      2 -> array(shape, pick(Argument.types()), content, layout)
      3 -> array(shape, type, pick(Argument.contents()), layout)
      4 -> array(shape, type, content, pick(Argument.layouts()))
    end
  end

  defp nudge(integer, _kind) when is_integer(integer), do: pick([integer - 1, integer + 1, -integer, 2 * integer, 0])

  defp nudge([_ | _] = list, kind) do
    index = :rand.uniform(length(list)) - 1

    case :rand.uniform(4) do
      1 -> List.delete_at(list, index)
      2 -> List.insert_at(list, index, Enum.at(list, index))
      _ -> List.update_at(list, index, &nudge(&1, kind))
    end
  end

  defp nudge(_argument, kind), do: plausible(kind)

  defp damaged(number) when is_integer(number), do: nudge(number, :size)

  defp damaged(binary) do
    at = :rand.uniform(byte_size(binary)) - 1
    <<before::binary-size(^at), byte, rest::binary>> = binary

    pick([
      before,
      <<before::binary, 0, rest::binary>>,
      <<before::binary, 255, rest::binary>>,
      <<before::binary, Bitwise.bxor(byte, 1), rest::binary>>
    ])
  end

  defp nudge_shape({}), do: {1}

  defp nudge_shape(shape) do
    index = :rand.uniform(tuple_size(shape)) - 1

    case :rand.uniform(5) do
      1 -> put_elem(shape, index, 0)
      2 -> put_elem(shape, index, elem(shape, index) + 1)
      3 -> put_elem(shape, index, 1)
      4 -> Tuple.insert_at(shape, index, pick([1, 2]))
      5 -> Tuple.delete_at(shape, index)
    end
  end

  defp plausible(:array),
    do: array(pick(@shapes), pick(Argument.types()), pick(Argument.contents()), pick(Argument.layouts()))

  defp plausible(:arrays), do: some(4, fn -> plausible(:array) end)
  defp plausible(:axes), do: pick([nil, [], some(3, fn -> plausible(:axis) end), some(2, fn -> pick([0, 1, -1]) end)])
  defp plausible(:axis), do: pick([0, 1, 2, -1, -2, 3, -5, 2_147_483_647, -2_147_483_648])
  defp plausible(:binary), do: :binary.copy(<<7>>, pick([0, 1, 4, 8, 16, 64]))
  defp plausible(:optional_binary), do: pick([nil, plausible(:binary)])
  defp plausible(:counted_state), do: List.to_tuple(some(3, fn -> pick([0, 1, 2, 5]) end))
  defp plausible(:token_sets), do: some(3, fn -> plausible(:token_set) end)
  defp plausible(:token_set), do: pick([plausible(:binary), {:ids, plausible(:binary)}])

  defp plausible(kind) when kind in [:token_tree, :rule_tables] do
    tables = NativeArguments.default(kind)
    index = :rand.uniform(tuple_size(tables)) - 1
    put_elem(tables, index, damaged(elem(tables, index)))
  end

  defp plausible(:device), do: pick([:cpu, :gpu])

  defp plausible(kind) when kind in [:cache, :compiled_entry, :compiled_function, :instruction, :program, :tape],
    do: {:special, kind}

  defp plausible(kind) when kind in [:example_call, :imported_function, :vmap_rules, :execution, :table],
    do: {:special, kind}

  defp plausible(:map), do: pick([%{}, %{1 => 2.0}, Map.new(1..100, &{&1, [&1]}), %{%{} => {}, "a" => self()}])

  defp plausible(:container) do
    arrays = plausible(:arrays)

    pick([
      arrays,
      [arrays | pick([1, 2.0, "tail"])],
      %{1 => arrays, "a" => %{b: arrays}},
      plausible(:map),
      [array({4, 4})]
    ])
  end

  defp plausible(:loop_condition), do: {:special, pick([:loop_condition, :program])}
  defp plausible(:compiled_functions), do: some(2, fn -> {:special, :compiled_function} end)
  defp plausible(:optional_arrays), do: pick([nil, plausible(:arrays)])
  defp plausible(:example_calls), do: some(2, fn -> {:special, :example_call} end)
  defp plausible(:optional_program), do: pick([nil, {:special, :program}])
  defp plausible(:optional_vmap_rules), do: pick([nil, {:special, :vmap_rules}])
  defp plausible(:vmap_inputs), do: some(3, fn -> {plausible(:axis), pick(@shapes), pick(Argument.types())} end)
  defp plausible(:shapes), do: some(3, fn -> {pick(@shapes), pick(Argument.types())} end)
  defp plausible(:flag), do: pick([true, false])
  defp plausible(:index_list), do: some(3, fn -> plausible(:indices) end)

  defp plausible(:indices) do
    array(pick(@shapes), pick(~w(u8 u16 u32 u64 s8 s16 s32 s64)a), pick(Argument.contents()), pick(Argument.layouts()))
  end

  defp plausible(:key),
    do: pick([array({2}, :u32), array({2}, :u32), array({3, 2}, :u32), array({2}, :s32), array({0}, :u32)])

  defp plausible(:mask), do: array(pick(@shapes), :bool, pick([:varied, :zeros, :ones]), pick(Argument.layouts()))
  defp plausible(:norm), do: pick([:backward, :ortho, :forward])

  defp plausible(:number),
    do: pick([0, 1, -1, 2, 0.5, -0.0, 1.0e-30, 1.0e30, 1.0e300, :nan, :infinity, :neg_infinity, 123_456_789])

  defp plausible(:kernel_making), do: pick([:wait, :never, :background])
  defp plausible(:process), do: {:special, :pid}
  defp plausible(:offset), do: pick([0, 1, 2, 15, 16, 1_000_000, 9_223_372_036_854_775_807, 18_446_744_073_709_551_615])

  defp plausible(:path) do
    {:path, pick(~w(example example.npy example.safetensors example.mlxfn missing/folder.npy .))}
  end

  defp plausible(:group), do: {:special, :group}
  defp plausible(:kernel), do: {:special, :kernel}

  defp plausible(:kernel_call) do
    outputs = some(2, fn -> {plausible(:shape), plausible(:type)} end)
    constants = some(3, fn -> {plausible(:text), pick([plausible(:type), plausible(:size), plausible(:flag)])} end)
    sizes = for _ <- 1..2, do: {plausible(:size), plausible(:size), 1}
    List.to_tuple([outputs | sizes] ++ [constants, pick([nil, plausible(:number)]), false])
  end

  defp plausible(:seed), do: pick([0, 1, 18_446_744_073_709_551_615])
  defp plausible(:shape), do: pick([Tuple.to_list(pick(@shapes)), some(4, fn -> pick(@integers) end)])
  defp plausible(:size), do: pick(@integers)
  defp plausible(:sizes), do: pick([some(4, fn -> pick(@integers) end), some(3, fn -> :rand.uniform(6) - 2 end)])
  defp plausible(:stream), do: pick([nil, nil, {:special, :stream}, {:special, :new_stream}])
  defp plausible(:stream_reference), do: {:special, :stream_reference}

  defp plausible(:strides),
    do: pick([plausible(:sizes), [9_223_372_036_854_775_807, 1], [-9_223_372_036_854_775_808, -1]])

  defp plausible(:text), do: pick(@texts)
  defp plausible(:texts), do: some(3, fn -> pick(@texts) end)
  defp plausible(:type), do: pick(Argument.types())
  defp plausible(:optional_array), do: pick([nil, plausible(:array), plausible(:array)])
  defp plausible(:optional_indices), do: pick([nil, plausible(:indices), plausible(:indices)])
  defp plausible(:optional_number), do: pick([nil, plausible(:number)])
  defp plausible(:optional_size), do: pick([nil, plausible(:size)])
  defp plausible(:optional_type), do: pick([nil, plausible(:type)])

  defp some(most, fun), do: for(_ <- 1..(:rand.uniform(most + 1) - 1)//1, do: fun.())
  defp pick(list), do: Enum.at(list, :rand.uniform(length(list)) - 1)
  defp chance(one_in), do: :rand.uniform(one_in) == 1
end
