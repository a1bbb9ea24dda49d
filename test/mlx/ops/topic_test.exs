defmodule Mlx.Ops.TopicTest do
  use ExUnit.Case, async: true

  defmodule Weather do
    use Mlx.Ops.Topic, title: "The weather"
    alias Mlx.Array

    @doc "Rain."
    @spec rain(Array.t(), keyword()) :: {Array.t(), level} when level: integer()
    def rain(array, options \\ [])
    def rain(%Array{} = array, options), do: {array, length(options)}

    @doc "Snow."
    @spec snow(integer()) :: integer()
    def snow(0 = depth), do: depth
    def snow(depth), do: depth - 1

    @doc false
    def hidden, do: :hidden

    def undocumented, do: :undocumented
  end

  defmodule Facade do
    require Mlx.Ops.Topic
    Mlx.Ops.Topic.delegate([Weather])
  end

  test "remembers documented functions, with names and defaults of arguments, and specs without aliases" do
    assert [{:rain, rain_arguments, "Rain.", [rain_spec], nil, false}, {:snow, snow_arguments, "Snow.", [_], nil, true}] =
             Weather.__topic__()

    assert Enum.map(rain_arguments, &Macro.to_string/1) == ["array", "options \\\\ []"]
    assert Enum.map(snow_arguments, &Macro.to_string/1) == ["depth"]
    assert Macro.to_string(rain_spec) =~ "rain(Mlx.Array.t(), keyword()) :: {Mlx.Array.t(), level}"
  end

  test "the functions of the façade call those of the topic" do
    assert Facade.snow(3) == 2
    array = Mlx.array(1)
    assert Facade.rain(array) == {array, 0}
    assert Facade.rain(array, [1, 2]) == {array, 2}
    assert Facade.__topics__() == ["The weather"]
    assert Facade.__info__(:functions) == [__topics__: 0, rain: 1, rain: 2, snow: 1]
  end

  test "arguments that no clause takes are those of the façade" do
    message = "Mlx.Ops.TopicTest.Facade.rain: expected an Mlx.Array, got: 1"
    error = assert_raise ArgumentError, message, fn -> Facade.rain(1) end
    assert Exception.message(error) == message

    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Mlx)
    # Those of Nx's compiler are hidden.
    assert [] == for({name, _, _, %{}, %{delegate_to: _}} <- docs, do: name)
  end

  test "a documented function without a name for an argument does not compile" do
    code = """
    defmodule Mlx.Ops.TopicTest.Nameless do
      use Mlx.Ops.Topic, title: "Hail"
      @doc "Hail."
      def hail({:size, _}), do: :ok
    end
    """

    assert_raise ArgumentError, ~r/a documented function needs a name for its argument \{:size, _\}/, fn ->
      Code.compile_string(code)
    end
  end

  test "a documented function without a spec does not compile" do
    code = """
    defmodule Mlx.Ops.TopicTest.Unspecified do
      use Mlx.Ops.Topic, title: "Hail"
      @doc "Hail."
      def hail(size), do: size
    end
    """

    assert_raise ArgumentError, "Mlx.Ops.TopicTest.Unspecified.hail/1: a documented function needs a @spec", fn ->
      Code.compile_string(code)
    end
  end
end
