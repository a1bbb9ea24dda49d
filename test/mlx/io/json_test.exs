defmodule Mlx.IO.JSONTest do
  use ExUnit.Case, async: true

  alias Mlx.IO.JSON

  test "values" do
    for {text, value} <- [
          {"null", nil},
          {" true\n", true},
          {"false", false},
          {"0", 0},
          {"-12", -12},
          {"18446744073709551615", 18_446_744_073_709_551_615},
          {"1.5", {:number, "1.5"}},
          {"-2E+3", {:number, "-2E+3"}},
          {~s(""), ""},
          {~s("größe 日本 😀"), "größe 日本 😀"},
          {~S("a\"b\\c\/d\b\f\n\r\te"), "a\"b\\c/d\b\f\n\r\te"},
          {~S("\u0041\u00e9\u65E5\ud83d\uDE00\u0000"), "Aé日😀\0"},
          {"[]", []},
          {"[ 1 , [2],{} ]", [1, [2], %{}]},
          {"{}", %{}},
          {~s({"a":1,"b":{"c":[true,null]}}\t), %{"a" => 1, "b" => %{"c" => [true, nil]}}}
        ] do
      assert JSON.decode!(text) == value
    end
  end

  test "what is none, and where" do
    for {text, message} <- [
          {"", "an end of the text at byte 0"},
          {"[1", "an end of the text at byte 2"},
          {"[1,]", ~s(an unexpected "]" at byte 3)},
          {"[1 2]", ~s(an unexpected "2]" at byte 3)},
          {~s({"a" 1}), ~s(an unexpected "1}" at byte 5)},
          {"{1:2}", ~s(an unexpected "1:2}" at byte 1)},
          {~s({"a":1,}), ~s(an unexpected "}" at byte 7)},
          {~s({"a":1,"a":2}), ~s(the key "a" for a second time at byte 7)},
          {"1 x", ~s(an unexpected "x" at byte 2)},
          {"nul", ~s(an unexpected "nul" at byte 0)},
          {"012", ~s(an unexpected "012" at byte 0)},
          {"1.", ~s(an unexpected "1." at byte 0)},
          {"-", ~s(an unexpected "-" at byte 0)},
          {"NaN", ~s(an unexpected "NaN" at byte 0)},
          {String.duplicate("1", 41), ~s(an unexpected "11111111" at byte 0)},
          {~s("a), "an end of the text at byte 2"},
          {"\"a\nb\"", ~S(an unexpected "\nb\"" at byte 2)},
          {~S("\x"), ~S(an unexpected "x\"" at byte 2)},
          {~S("\u12"), ~S(an unexpected "u12\"" at byte 2)},
          {~S("\ud83d"), ~S(an unexpected "ud83d\"" at byte 2)},
          {~S("\ud83d\u0041"), ~S(an unexpected "\"" at byte 13)},
          {~S("\ude00"), ~S(an unexpected "ude00\"" at byte 2)},
          {<<?", 0xFF, ?">>, "a string that is not UTF-8 at byte 3"},
          {<<0xFF, 0xFE>>, "an unexpected <<255, 254>> at byte 0"},
          {String.duplicate("[", 1_000_000), "more than 32 values within each other at byte 32"},
          {String.duplicate(~s({"a":), 40), "more than 32 values within each other at byte 160"}
        ] do
      assert_raise Mlx.Error, message, fn -> JSON.decode!(text) end
    end
  end
end
