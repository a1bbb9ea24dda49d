defmodule Mlx.Optimizers.PythonTest do
  # Ten steps of every optimizer, and every schedule, are Python's.
  use ExUnit.Case, async: true

  alias Mlx.Differential.Python
  alias Mlx.{Optimizers, Tree}

  alias Mlx.Optimizers.{
    Adafactor,
    AdaDelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    MultiOptimizer,
    Muon,
    RMSprop,
    Schedules,
    SGD
  }

  setup {Mlx.OnCPU, :choose}

  @steps 10

  # Name in Python, the schedule, its arguments in Python.
  @schedules [
    {"exponential_decay", quote(do: Schedules.exponential_decay(0.1, 0.9)), "0.1, 0.9"},
    {"exponential_decay", quote(do: Schedules.exponential_decay(3, 2)), "3, 2"},
    {"step_decay", quote(do: Schedules.step_decay(0.1, 0.9, 3)), "0.1, 0.9, 3"},
    {"step_decay", quote(do: Schedules.step_decay(1, 0.5, 1)), "1, 0.5, 1"},
    {"cosine_decay", quote(do: Schedules.cosine_decay(0.1, 7)), "0.1, 7"},
    {"cosine_decay", quote(do: Schedules.cosine_decay(1, 5, end: 0.05)), "1, 5, end=0.05"},
    {"linear_schedule", quote(do: Schedules.linear_schedule(0, 0.1, 4)), "0, 0.1, 4"},
    {"linear_schedule", quote(do: Schedules.linear_schedule(0.5, 0.25, 20)), "0.5, 0.25, 20"},
    {"join_schedules",
     quote(do: Schedules.join_schedules([Schedules.linear_schedule(0, 0.1, 4), Schedules.cosine_decay(0.1, 5)], [4])),
     "[optimizers.linear_schedule(0, 0.1, 4), optimizers.cosine_decay(0.1, 5)], [4]"},
    {"join_schedules",
     quote do
       Schedules.join_schedules(
         [Schedules.step_decay(0.1, 0.5, 2), Schedules.linear_schedule(0.2, 0.1, 3), fn _step -> 0.01 end],
         [3, 7]
       )
     end, "[optimizers.step_decay(0.1, 0.5, 2), optimizers.linear_schedule(0.2, 0.1, 3), lambda step: 0.01], [3, 7]"},
    {"join_schedules", quote(do: Schedules.join_schedules([Schedules.step_decay(1, 0.5, 1)], [])),
     "[optimizers.step_decay(1, 0.5, 1)], []"}
  ]

  # Module, options.
  @optimizers [
    {SGD, []},
    {SGD, [weight_decay: 0.1]},
    {SGD, [momentum: 0.9]},
    {SGD, [momentum: 0.9, weight_decay: 0.01, dampening: 0.25]},
    {SGD, [momentum: 0.9, weight_decay: 0.01, nesterov: true]},
    {SGD, [momentum: -0.5, dampening: -1]},
    {RMSprop, []},
    {RMSprop, [alpha: 0.5, eps: 0.01]},
    {Adagrad, []},
    {Adagrad, [eps: 0.1]},
    {AdaDelta, []},
    {AdaDelta, [rho: 0.5, eps: 0.01]},
    {Adam, []},
    {Adam, [bias_correction: true]},
    {Adam, [betas: {0.5, 0.75}, eps: 0.001]},
    {Adam, [betas: {0, 0.9}, eps: 0.01, bias_correction: true]},
    {AdamW, []},
    {AdamW, [weight_decay: 0.5, bias_correction: true]},
    {AdamW, [weight_decay: 0, betas: {0.8, 0.9}]},
    {Adamax, []},
    {Adamax, [betas: {0.5, 0.75}, eps: 0.001]},
    {Lion, []},
    {Lion, [betas: {0.5, 0.75}, weight_decay: 0.1]},
    {Lion, [weight_decay: -0.1]},
    {Adafactor, []},
    {Adafactor, [relative_step: false]},
    {Adafactor, [relative_step: false, scale_parameter: false, weight_decay: 0.1]},
    {Adafactor, [warmup_init: true, beta_1: 0.9]},
    {Adafactor, [eps: {1.0e-6, 0.1}, clip_threshold: 0.5, decay_rate: -0.5, beta_1: 0.5, weight_decay: 0.01]},
    {Adafactor, [scale_parameter: false]},
    {Muon, []},
    {Muon, [nesterov: false, weight_decay: 0]},
    {Muon, [momentum: 0.5, weight_decay: 0.1, ns_steps: 3]},
    {Muon, [ns_steps: 0]}
  ]

  # Their means and norms of :bf16 and :f16 are closer to the true ones than Python's, which adds up in these types.
  @closer [Adafactor, Muon]

  # The learning rate, and in Python.
  @rates [
    {0.01, "0.01"},
    {1, "1"},
    {quote(do: Schedules.linear_schedule(0, 0.1, 4)), "optimizers.linear_schedule(0, 0.1, 4)"},
    {quote(do: fn step -> Mlx.divide(0.1, Mlx.add(step, 1)) end), "lambda step: 0.1 / (step + 1)"}
  ]

  # The optimizers, the filters, both in Python.
  @several [
    {quote(do: [Muon.new(0.02), AdamW.new(0.001)]), quote(do: [fn _path, array -> tuple_size(array.shape) >= 2 end]),
     "[optimizers.Muon(0.02), optimizers.AdamW(0.001)], [lambda path, array: array.ndim >= 2]"},
    {quote(do: [SGD.new(0.1), Adam.new(Schedules.exponential_decay(0.1, 0.5)), Lion.new(0.01)]),
     quote(do: [fn path, _array -> path =~ "bias" end, fn path, _array -> path == "layers.0.weight" end]),
     "[optimizers.SGD(0.1), optimizers.Adam(optimizers.exponential_decay(0.1, 0.5)), optimizers.Lion(0.01)], " <>
       "[lambda path, array: 'bias' in path, lambda path, array: path == 'layers.0.weight']"},
    {quote(do: [SGD.new(0.1), RMSprop.new(0.1)]), quote(do: [fn _path, _array -> false end]),
     "[optimizers.SGD(0.1), optimizers.RMSprop(0.1)], [lambda path, array: False]"},
    {quote(do: [Adam.new(0.1)]), [], "[optimizers.Adam(0.1)]"}
  ]

  @tag :oracle
  test "every public name has a case" do
    names =
      text("'\\n'.join(n for n, v in vars(optimizers).items() if getattr(v, '__module__', '').startswith('mlx.optim'))")

    tested =
      for({module, _options} <- @optimizers, do: module |> Module.split() |> List.last()) ++
        for({name, _schedule, _python} <- @schedules, do: name) ++ ["MultiOptimizer", "clip_grad_norm"]

    assert Enum.sort(names -- ["Optimizer"]) == tested |> Enum.uniq() |> Enum.sort()
  end

  for {module, options} <- @optimizers do
    @tag :oracle
    test "#{inspect(module)} with #{inspect(options)}" do
      for {{rate, python}, index} <- Enum.with_index(rates()),
          type <- [:f32, :bf16, :f16],
          index == 0 or type == :f32 do
        name = unquote(module) |> Module.split() |> List.last()

        arguments =
          Enum.map_join(unquote(Macro.escape(options)), fn {name, value} -> ", #{name}=#{Python.term(value)}" end)

        optimizer = unquote(module).new(rate, unquote(Macro.escape(options)))
        assert_steps(optimizer, "optimizers.#{name}(#{python}#{arguments})", type)
      end
    end
  end

  defp rates, do: unquote(for {rate, python} <- @rates, do: {rate, python})

  @tag :oracle
  test "Adafactor without a learning rate" do
    assert_steps(Adafactor.new(), "optimizers.Adafactor()", :f32)
    assert_steps(Adafactor.new(nil, warmup_init: true), "optimizers.Adafactor(warmup_init=True)", :bf16)
  end

  for {{optimizers, filters, python}, index} <- Enum.with_index(@several) do
    @tag :oracle
    test "MultiOptimizer, number #{index}" do
      optimizer = MultiOptimizer.new(unquote(optimizers), unquote(filters))
      assert_steps(optimizer, "optimizers.MultiOptimizer(#{unquote(python)})", :f32)
    end
  end

  for {name, schedule, python} <- @schedules do
    @tag :oracle
    test "#{name}(#{python})" do
      python = "optimizers.#{unquote(name)}(#{unquote(python)})"
      schedule = unquote(schedule)

      for step <- [0, 1, 2, 3, 4, 5, 6, 7, 8, 25] do
        # Where MLX has a number, it makes an array of it.
        rate = Mlx.add(schedule.(Mlx.array(step, type: :u64)), 0)
        Mlx.Oracle.assert_oracle(rate, "#{python}(mx.array(#{step}, mx.uint64)) + 0")
      end

      assert_steps(SGD.new(schedule), "optimizers.SGD(#{python})", :f32)
    end
  end

  @tag :oracle
  test "clip_grad_norm" do
    for type <- [:f32, :bf16, :f16, :f64], max_norm <- [0, 0.5, 2, 1000.0] do
      [gradients | _] = gradients(type)
      {clipped, norm} = Optimizers.clip_grad_norm(gradients, max_norm)

      python = """
      (lambda clipped, norm: [norm] + [x for _, x in utils.tree_flatten(clipped)])(
      *optimizers.clip_grad_norm(#{python(gradients, "g")}, #{max_norm}))
      """

      Mlx.Oracle.assert_oracle([norm | Tree.arrays(clipped)], one_line(python), named(gradients, "g"))
    end

    for {array, python} <- [
          {Mlx.array([3, -4]), "mx.array([3, -4])"},
          {Mlx.array([300.0, 400.0], type: :f16), "mx.array([300, 400], mx.float16)"}
        ] do
      {clipped, norm} = Optimizers.clip_grad_norm([array], 1.0)

      Mlx.Oracle.assert_oracle(
        [norm, hd(clipped)],
        "(lambda c, n: [n, c[0]])(*optimizers.clip_grad_norm([#{python}], 1.0))"
      )
    end

    {none, norm} = Optimizers.clip_grad_norm(%{a: nil, b: []}, 1.0)
    assert {none, Mlx.to_number(norm)} == {%{a: nil, b: []}, 0.0}
  end

  # The parameters after each step, the names in the state, and its arrays.
  defp assert_steps(optimizer, python, type) do
    parameters = parameters(type)
    gradients = gradients(type)

    {steps, {_parameters, state}} =
      Enum.map_reduce(gradients, {parameters, Optimizers.init(optimizer, parameters)}, fn gradients,
                                                                                          {parameters, state} ->
        {parameters, state} = Optimizers.update(optimizer, gradients, parameters, state)
        {parameters, {parameters, state}}
      end)

    python = """
    (lambda flat, o, p, gs: (lambda steps, state: [mx.array(list("\\n".join(n for n, _ in state).encode()), mx.uint8)]
    + [x for step in steps for _, x in step] + [x for _, x in state])
    ((o.init(p), [flat(p := o.apply_gradients(g, p)) for g in gs])[1], flat(o.state)))
    (lambda tree: sorted(utils.tree_flatten(tree), key=lambda pair: pair[0]),
    #{python}, #{python(parameters, "p")}, [#{gradients |> Enum.with_index(&python(&1, "g#{&2}_")) |> Enum.join(", ")}])
    """

    arrays = named(parameters, "p") ++ (gradients |> Enum.with_index(&named(&1, "g#{&2}_")) |> Enum.concat())
    {names, states} = state |> sorted() |> Enum.unzip()
    names = names |> Enum.join("\n") |> :binary.bin_to_list() |> Mlx.array(type: :u8)
    changed = for step <- steps, {_path, array} <- sorted(step), do: array
    got = [names | changed] ++ states

    if optimizer.__struct__ in @closer and type in [:bf16, :f16],
      do: assert_near(got, Mlx.Oracle.eval(one_line(python), arrays), python),
      else: Mlx.Oracle.assert_oracle(got, one_line(python), arrays)
  end

  # By the greatest of the elements, as all of a matrix change with its mean.
  defp assert_near(got, wanted, python) do
    assert length(got) == length(wanted)

    for {got, wanted} <- Enum.zip(got, wanted) do
      assert {got.type, got.shape} == {wanted.type, wanted.shape}, python
      [got, wanted] = for array <- [got, wanted], do: Mlx.as_type(array, :f32)
      far = got |> Mlx.subtract(wanted) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
      greatest = wanted |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
      assert far <= 0.05 * greatest, "#{python}#{far} of #{greatest}"
    end
  end

  defp sorted(container), do: container |> Tree.flatten() |> List.keysort(0)

  defp parameters(type) do
    %{
      layers: [%{bias: random({3}, type, 1), weight: random({3, 5}, type, 2)}, %{weight: random({4, 3}, type, 3)}],
      conv: random({6, 2, 2, 3}, type, 4),
      scale: random({}, type, 5)
    }
  end

  defp gradients(type) do
    for step <- 1..@steps do
      Tree.map(parameters(type), fn array -> random(array.shape, type, 10 * step + tuple_size(array.shape)) end)
    end
  end

  defp random(shape, type, seed), do: shape |> Mlx.Random.normal(key: Mlx.Random.key(seed)) |> Mlx.as_type(type)

  # A container in Python with the names of its arrays, in the order that they have there.
  defp python(container, prefix) do
    {container, _count} = Tree.map_reduce(container, 0, fn _array, n -> {{:python, "#{prefix}#{n}"}, n + 1} end)
    Python.term(container)
  end

  defp named(container, prefix), do: container |> Tree.arrays() |> Enum.with_index(&{"#{prefix}#{&2}", &1})

  defp text(expression, arrays \\ []) do
    "mx.array(list((#{expression}).encode()), mx.uint8)"
    |> Mlx.Oracle.eval(arrays)
    |> Mlx.to_binary()
    |> String.split("\n")
  end

  defp one_line(text), do: text |> String.replace("\n", " ") |> String.trim()
end
