defmodule MlxTest do
  use ExUnit.Case, async: false

  doctest Mlx
end
