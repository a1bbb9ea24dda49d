defmodule Mlx.OptimizersTest do
  use ExUnit.Case, async: true

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

  doctest Mlx.Optimizers
  doctest Mlx.Optimizers.Adafactor
  doctest Mlx.Optimizers.AdaDelta
  doctest Mlx.Optimizers.Adagrad
  doctest Mlx.Optimizers.Adam
  doctest Mlx.Optimizers.Adamax
  doctest Mlx.Optimizers.AdamW
  doctest Mlx.Optimizers.Lion
  doctest Mlx.Optimizers.MultiOptimizer
  doctest Mlx.Optimizers.Muon
  doctest Mlx.Optimizers.RMSprop
  doctest Mlx.Optimizers.Schedules
  doctest Mlx.Optimizers.SGD

  @moduletag :tmp_dir

  defmodule Model do
    defstruct [:weight, :bias, :layers, activation: &Mlx.tanh/1, size: {4, 3}]
  end

  # One of each, with as much in its state as it can have.
  defp optimizers do
    schedule = Schedules.join_schedules([Schedules.linear_schedule(0.0, 0.1, 2), Schedules.cosine_decay(0.1, 5)], [2])
    matrix? = fn _path, array -> tuple_size(array.shape) == 2 end

    [
      SGD.new(0.1),
      SGD.new(schedule, momentum: 0.9, weight_decay: 0.1, nesterov: true),
      RMSprop.new(0.01),
      Adagrad.new(schedule),
      AdaDelta.new(Mlx.array(0.5)),
      Adam.new(0.01, bias_correction: true),
      AdamW.new(schedule, weight_decay: 0.1),
      Adamax.new(0.01),
      Lion.new(0.01, weight_decay: 0.1),
      Adafactor.new(nil, beta_1: 0.9),
      Adafactor.new(schedule, relative_step: false),
      Muon.new(0.02),
      MultiOptimizer.new([Muon.new(0.02), AdamW.new(schedule)], [matrix?])
    ]
  end

  defp model do
    key = &Mlx.Random.key/1

    %Model{
      weight: Mlx.Random.normal({4, 3}, key: key.(1)),
      bias: Mlx.Random.normal({3}, key: key.(2)),
      layers: [%{scale: Mlx.array(0.5), rate: 0.1}, {Mlx.Random.normal({3, 3}, key: key.(3))}]
    }
  end

  defp loss(model, x) do
    [%{scale: scale}, {square}] = model.layers
    x = x |> Mlx.matmul(model.weight) |> Mlx.add(model.bias) |> model.activation.()
    x |> Mlx.matmul(square) |> Mlx.multiply(scale) |> Mlx.square() |> Mlx.mean()
  end

  defp step(optimizer) do
    gradients = Mlx.grad(&loss/2)

    fn model, state, x ->
      send(self(), :recorded)
      Optimizers.update(optimizer, gradients.(model, x), model, state)
    end
  end

  defp steps({model, state}, step, numbers) do
    Enum.reduce(numbers, {model, state}, fn number, {model, state} ->
      Mlx.eval(step.(model, state, Mlx.Random.normal({5, 4}, key: Mlx.Random.key(number))))
    end)
  end

  defp start(optimizer), do: {model(), Optimizers.init(optimizer, model())}
  defp bytes(container), do: for({path, array} <- Tree.flatten(container), do: {path, array.type, Mlx.to_binary(array)})
  defp paths(container), do: for({path, _array} <- Tree.flatten(container), do: path)

  describe "parameters" do
    test "are any container, of which what is no array stays" do
      for optimizer <- optimizers() do
        {model, state} = steps(start(optimizer), step(optimizer), 1..3)
        assert %Model{size: {4, 3}, layers: [%{rate: 0.1}, {_square}]} = model
        assert model.activation == %Model{}.activation
        assert paths(model) == paths(model())
        assert paths(state) == optimizer |> Optimizers.init(model()) |> paths()
      end
    end

    test "may be one array, a tuple, a keyword list or nothing" do
      array = Mlx.array([1.0, 2.0])
      optimizer = Adam.new(0.1)

      for {parameters, paths} <- [
            {array, ["learning_rate", "m", "step", "v"]},
            {{array, nil}, ["0.m", "0.v", "learning_rate", "step"]},
            {[a: array, b: [array]], ["a.m", "a.v", "b.0.m", "b.0.v", "learning_rate", "step"]},
            {%{"a" => array, b: nil}, ["learning_rate", "step", "a.m", "a.v"]},
            {%{}, ["learning_rate", "step"]}
          ] do
        state = Optimizers.init(optimizer, parameters)
        assert paths(state) == paths
        {changed, state} = Optimizers.update(optimizer, parameters, parameters, state)
        assert paths(state) == paths
        assert paths(changed) == paths(parameters)
        assert Mlx.to_number(state.step) == 1
      end
    end

    test "without a gradient stay as they are, with what is remembered of them" do
      optimizer = Adam.new(0.1)
      {model, state} = start(optimizer)
      gradient = Mlx.ones({3})
      [%{scale: scale}, {square}] = model.layers

      for gradients <- [
            %{bias: gradient},
            %{bias: gradient, weight: nil, layers: nil},
            %Model{bias: gradient, layers: [%{scale: nil, rate: 0.1}, {nil}]},
            %{bias: gradient, layers: []},
            [bias: gradient, more: %{nothing: nil}]
          ] do
        {changed, new} = Optimizers.update(optimizer, gradients, model, state)
        assert changed.weight == model.weight
        assert [%{scale: ^scale, rate: 0.1}, {^square}] = changed.layers
        assert {new.weight, new.layers} == {state.weight, state.layers}
        assert Mlx.to_list(changed.bias) != Mlx.to_list(model.bias)
        assert Mlx.to_list(new.bias.m) != Mlx.to_list(state.bias.m)
      end

      assert {^model, %{step: step}} = Optimizers.update(optimizer, nil, model, state)
      assert Mlx.to_number(step) == 1
    end

    test "may be fewer in the state than in the container" do
      optimizer = Lion.new(0.1)
      {trained, _kept} = Tree.partition(model(), fn path, _array -> path == "bias" end)
      state = Optimizers.init(optimizer, trained)
      assert paths(state) == ["bias.m", "learning_rate", "step"]
      {changed, _state} = Optimizers.update(optimizer, %{trained | bias: Mlx.ones({3})}, model(), state)
      assert Mlx.to_list(changed.weight) == Mlx.to_list(model().weight)
    end

    test "have gradients of the same shape, and each gradient a parameter" do
      optimizer = Adam.new(0.1)
      {model, state} = start(optimizer)

      for {gradients, message} <- [
            {%{bias: Mlx.ones({4})}, ~r/of the shape of the parameter at "bias", .*f32\[3\].*, got: .*f32\[4\]/},
            {%{bias: [Mlx.ones({3})]}, ~r/of the shape of the parameter at "bias"/},
            {%{layers: [%{rate: Mlx.ones({})}]}, ~r/the state has nothing at "layers.0.rate"/},
            {%{layers: [%{scale: Mlx.ones({1})}]}, ~r/at "layers.0.scale"/},
            {%{more: Mlx.ones({})}, ~r/a gradient, but no parameter at "more"/},
            {Mlx.ones({3}), ~r/of the shape of the parameter, %/}
          ] do
        assert_raise ArgumentError, message, fn -> Optimizers.update(optimizer, gradients, model, state) end
      end
    end

    test "have names that differ from those of the state itself" do
      for key <- [:step, "learning_rate"] do
        assert_raise ArgumentError, ~r/^Mlx.Optimizers.init: the state needs the key #{inspect(key)} itself/, fn ->
          Optimizers.init(SGD.new(0.1), %{key => Mlx.ones({2})})
        end
      end

      assert Optimizers.init(SGD.new(0.1), %{step: 3, a: %{step: Mlx.ones({2})}}) |> paths() ==
               ["a.step.v", "learning_rate", "step"]
    end
  end

  describe "a state" do
    test "is that of the optimizer" do
      parameters = %{w: Mlx.ones({2})}
      gradients = parameters
      state = Optimizers.init(SGD.new(0.1), parameters)

      for {optimizer, state, message} <- [
            {Adam.new(0.1), state, ~r/the state at "w" is not that of an Mlx.Optimizers.Adam/},
            {AdamW.new(0.1), state, ~r/the state at "w" is not that of an Mlx.Optimizers.AdamW/},
            {Adafactor.new(), state, ~r/the state at "w" is not that of an Mlx.Optimizers.Adafactor/},
            {SGD.new(0.1), Optimizers.init(Adafactor.new(), parameters), ~r/that Mlx.Optimizers.init\/2 makes for/},
            {SGD.new(0.1), %{}, ~r/that Mlx.Optimizers.init\/2 makes for an Mlx.Optimizers.SGD, got: %{}/},
            {SGD.new(0.1), nil, ~r/got: nil/},
            {SGD.new(0.1), Optimizers.init(SGD.new(0.1), %{}), ~r/the state has nothing at "w"/},
            {MultiOptimizer.new([SGD.new(0.1)]), state, ~r/with the states of 1 optimizers/}
          ] do
        assert_raise ArgumentError, message, fn -> Optimizers.update(optimizer, gradients, parameters, state) end
      end
    end

    test "is saved, loaded and continued with the same bytes", %{tmp_dir: folder} do
      path = Path.join(folder, "training.safetensors")

      for optimizer <- optimizers() do
        step = step(optimizer)
        whole = steps(start(optimizer), step, 1..6)
        half = steps(start(optimizer), step, 1..3)
        Mlx.IO.save(path, half |> Tree.flatten() |> Map.new())
        loaded = path |> Mlx.IO.load() |> Tree.unflatten(start(optimizer))
        assert loaded |> steps(step, 4..6) |> bytes() == bytes(whole)
      end
    end

    test "holds the learning rate that is used" do
      optimizer = SGD.new(1.0)
      x = Mlx.array(1.0)
      state = %{Optimizers.init(optimizer, x) | learning_rate: Mlx.array(0.25)}
      {x, state} = Optimizers.update(optimizer, Mlx.array(1.0), x, state)
      assert {Mlx.to_number(x), Mlx.to_number(state.learning_rate)} == {0.75, 0.25}
    end

    test "has the rate of a schedule for the step just made" do
      optimizer = SGD.new(Schedules.exponential_decay(1.0, 0.5))

      {rates, _state} =
        Enum.map_reduce(1..3, Optimizers.init(optimizer, {}), fn _step, state ->
          {_none, state} = Optimizers.update(optimizer, {}, {}, state)
          {Mlx.to_number(state.learning_rate), state}
        end)

      assert rates == [1.0, 0.5, 0.25]
    end
  end

  describe "a compiled step" do
    test "does what the step does, is recorded once, and takes donated arrays" do
      for optimizer <- optimizers() do
        expected = steps(start(optimizer), step(optimizer), 1..5)
        forget()
        compiled = Mlx.compile(step(optimizer), donate: [0, 1])
        {model, state} = start(optimizer)
        got = steps({model, state}, compiled, 1..5)

        for {{path, a}, {path, b}} <- Enum.zip(Tree.flatten(got), Tree.flatten(expected)) do
          assert {a.type, a.shape} == {b.type, b.shape}, path

          assert a |> Mlx.all_close(b, rtol: 1.0e-4, atol: 1.0e-5) |> Mlx.to_number(),
                 "#{inspect(optimizer)} at #{path}"
        end

        assert recorded() == 1, "#{inspect(optimizer)} was compiled more than once"
        assert_raise ArgumentError, ~r/deallocated/, fn -> Mlx.to_list(model.bias) end
      end
    end

    test "is not compiled anew for another rate in the state" do
      optimizer = SGD.new(0.1)
      compiled = Mlx.compile(step(optimizer))
      {model, state} = start(optimizer)
      {_model, %{learning_rate: rate}} = compiled.(model, %{state | learning_rate: Mlx.array(0.5)}, Mlx.ones({5, 4}))
      compiled.(model, state, Mlx.ones({5, 4}))
      assert {Mlx.to_number(rate), recorded()} == {0.5, 1}
    end

    test "leaves an array that is the rate of an optimizer as it was" do
      rate = Mlx.array(0.5)
      optimizer = SGD.new(rate)
      steps(start(optimizer), Mlx.compile(step(optimizer), donate: [0, 1]), 1..2)
      assert Mlx.to_number(rate) == 0.5
    end

    test "gives back what has no gradient when it is donated" do
      optimizer = SGD.new(0.5, momentum: 0.9)

      compiled =
        Mlx.compile(fn x, state -> Optimizers.update(optimizer, %{a: Mlx.ones({2})}, x, state) end, donate: [0, 1])

      parameters = %{a: Mlx.ones({2}), frozen: Mlx.array([3.0, 4.0])}
      state = Optimizers.init(optimizer, parameters)
      {parameters, state} = Enum.reduce(1..3, {parameters, state}, fn _step, {x, state} -> compiled.(x, state) end)
      assert {Mlx.to_list(parameters.frozen), Mlx.to_list(state.frozen.v)} == {[3.0, 4.0], [0.0, 0.0]}
    end

    defp recorded, do: length(forget())

    defp forget do
      receive do
        :recorded -> [:recorded | forget()]
      after
        0 -> []
      end
    end
  end

  test "a step can be differentiated" do
    optimizer = SGD.new(0.0)
    x = Mlx.array(3.0)
    square = &Mlx.square/1

    after_step = fn rate ->
      state = %{Optimizers.init(optimizer, x) | learning_rate: rate}
      {x, _state} = Optimizers.update(optimizer, Mlx.grad(square).(x), x, state)
      square.(x)
    end

    # d/dr (3 - 6 r) ** 2 at 0.25
    assert Mlx.grad(after_step).(Mlx.array(0.25)) |> Mlx.to_number() == -18.0
  end

  test "the optimizer in the documentation of PerParameter is one" do
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Optimizers.PerParameter)
    [code] = Regex.run(~r/^    defmodule .*?^    end$/ms, text)
    [{module, _binary}] = Code.compile_string(code)
    optimizer = module.new(0.5, momentum: 0.5)
    x = Mlx.array([1.0, 1.0])
    {x, state} = Optimizers.update(optimizer, Mlx.array([2.0, -4.0]), x, Optimizers.init(optimizer, x))
    assert {Mlx.to_list(x), Mlx.to_list(state.v)} == {[0.5, 1.5], [1.0, -2.0]}

    assert_raise ArgumentError, ~r/^Signum.new: expected :momentum to be a number/, fn ->
      module.new(0.1, momentum: 1)
    end

    assert_raise ArgumentError, ~r/^Signum.new: unknown option :nesterov/, fn -> module.new(0.1, nesterov: true) end
  after
    :code.purge(Signum)
    :code.delete(Signum)
  end

  test "the defaults of an optimizer are of kinds that there are" do
    for {options, message} <- [
          {[momentum: {0.9, :small}],
           ~r/^Mlx.Optimizers.PerParameter: expected .* of a kind such as :number, got: :small/},
          {[momentum: {1.5, :fraction}], ~r/:momentum to be a number of at least 0 and below 1, got: 1.5/}
        ] do
      code = "defmodule Faulty do use Mlx.Optimizers.PerParameter, #{inspect(options)} end"
      assert_raise ArgumentError, message, fn -> Code.compile_string(code) end
    end
  end

  describe "options" do
    test "are checked" do
      for {call, message} <- [
            {fn -> Adam.new(:fast) end, ~r/^Mlx.Optimizers.Adam.new: expected :learning_rate to be a number, a scalar/},
            {fn -> Adam.new(nil) end, ~r/:learning_rate/},
            {fn -> Adam.new(Mlx.ones({2})) end, ~r/:learning_rate .*f32\[2\]/},
            {fn -> Adam.new(fn -> 0.1 end) end, ~r/:learning_rate/},
            {fn -> Adam.new(0.1, betas: {0.9, 1}) end,
             ~r/:betas to be a tuple of two, each a number of at least 0 and/},
            {fn -> Adam.new(0.1, betas: [0.9, 0.99]) end, ~r/:betas to be a tuple of two/},
            {fn -> Adam.new(0.1, eps: -1) end, ~r/:eps to be a number of at least 0, got: -1/},
            {fn -> Adam.new(0.1, weight_decay: 0.1) end, ~r/unknown option :weight_decay/},
            {fn -> RMSprop.new(0.1, eps: 0) end, ~r/:eps to be a number above 0/},
            {fn -> SGD.new(0.1, nesterov: true) end, ~r/^Mlx.Optimizers.SGD.new: expected a momentum above 0/},
            {fn -> SGD.new(0.1, nesterov: true, momentum: 0.9, dampening: 0.1) end, ~r/no dampening/},
            {fn -> SGD.new(0.1, nesterov: 1) end, ~r/:nesterov to be true or false/},
            {fn -> Muon.new(0.1, ns_steps: 1.5) end, ~r/:ns_steps to be an integer/},
            {fn -> Adafactor.new(nil, relative_step: false) end,
             ~r/expected a learning rate with relative_step: false/},
            {fn -> Adafactor.new(0.1, beta_1: :a) end, ~r/:beta_1 to be a number, or nil/},
            {fn -> MultiOptimizer.new([]) end, ~r/-1 filters for 0/},
            {fn -> MultiOptimizer.new([SGD.new(0.1)], [fn _, _ -> true end]) end, ~r/0 filters for 1 optimizers/},
            {fn -> MultiOptimizer.new([SGD.new(0.1), 5], []) end, ~r/a list of optimizers/},
            {fn -> Optimizers.init(%Model{}, %{}) end, ~r/^Mlx.Optimizers.init: expected an optimizer such as/}
          ] do
        assert_raise ArgumentError, message, call
      end
    end

    test "of schedules are checked" do
      for {call, message} <- [
            {fn -> Schedules.step_decay(0.1, 0.9, 0) end,
             ~r/^Mlx.Optimizers.Schedules.step_decay: .* at least 1, got: 0/},
            {fn -> Schedules.cosine_decay(0.1, -1) end, ~r/cosine_decay: .* at least 1/},
            {fn -> Schedules.cosine_decay(0.1, 5, end: :a) end, ~r/:end to be a number/},
            {fn -> Schedules.linear_schedule(0, 1, 0) end, ~r/linear_schedule: .* at least 1/},
            {fn -> Schedules.join_schedules([], []) end, ~r/one boundary fewer than schedules, got: 0 and 0/},
            {fn -> Schedules.join_schedules([&Mlx.exp/1], [1]) end, ~r/got: 1 and 1/},
            {fn -> Schedules.join_schedules([1], []) end, ~r/expected functions of one argument/}
          ] do
        assert_raise ArgumentError, message, call
      end
    end

    test "that are schedules return a number or a scalar" do
      for returned <- [Mlx.ones({1}), :a, nil] do
        assert_raise ArgumentError,
                     ~r/^Mlx.Optimizers.init: expected a learning rate that is a number or a scalar/,
                     fn ->
                       Optimizers.init(SGD.new(fn _step -> returned end), %{})
                     end
      end
    end
  end

  test "the norm of gradients is not negative, and of complex numbers the one of their absolute values" do
    assert_raise ArgumentError, ~r/^Mlx.Optimizers.clip_grad_norm: expected a norm of at least 0, got: -1/, fn ->
      Optimizers.clip_grad_norm(%{}, -1)
    end

    {[clipped], norm} = Mlx.compile(&Optimizers.clip_grad_norm/2).([Mlx.array([{3.0, 4.0}])], 1.0)
    assert {norm.type, Mlx.to_number(norm), clipped.type} == {:f32, 5.0, :c64}
    assert_in_delta clipped |> Mlx.abs() |> Mlx.to_number(), 1.0, 1.0e-6
  end
end
