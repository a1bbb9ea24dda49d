defmodule Mlx.IO.GGUFTest do
  use ExUnit.Case, async: true

  alias Mlx.{ChildVM, IO.GGUF}

  @moduletag :tmp_dir

  setup %{tmp_dir: folder} do
    path = Path.join(folder, "model.gguf")
    Mlx.IO.save(path, %{"x" => Mlx.array([[1.0, 2.0], [3.0, 4.0]])}, metadata: %{"name" => "a model"})
    %{path: path}
  end

  test "gives the arrays and the header", %{path: path} do
    assert {%{"x" => x}, %{metadata: %{"name" => "a model"}}} = GGUF.load(path, nil)
    assert Mlx.to_list(x) == [[1.0, 2.0], [3.0, 4.0]]
  end

  test "loads a file that may only be read, and leaves no copy", %{path: path, tmp_dir: folder} do
    File.chmod!(path, 0o444)
    copies = Path.join(folder, "copies")
    File.mkdir!(copies)

    code =
      quote do
        access = File.stat!(unquote(path)).access
        %{"x" => x} = Mlx.IO.load(unquote(path))
        IO.inspect({access, Mlx.to_list(x), File.ls!(System.tmp_dir!())})
      end

    outcome = ChildVM.run(code, env: [{"TMPDIR", copies}], through: unprivileged())
    assert outcome == {:exit, 0, "{:read, [[1.0, 2.0], [3.0, 4.0]], []}\n"}
  end

  # Root may write everything, unless it gives that up.
  defp unprivileged do
    case System.cmd("id", ["-u"]) do
      {"0\n", 0} -> ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
      _other -> []
    end
  end
end
