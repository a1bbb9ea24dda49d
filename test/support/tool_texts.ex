defmodule Mlx.ToolTexts do
  @moduledoc "Texts with calls in the formats of models, the body that mlx-lm's parser of each is given, and tools."

  @tools [
    %{
      "type" => "function",
      "function" => %{
        "name" => "get_weather",
        "parameters" => %{
          "type" => "object",
          "properties" => %{
            "city" => %{"type" => "string"},
            "days" => %{"type" => "integer"},
            "ratio" => %{"type" => "number"},
            "wind" => %{"type" => "boolean"},
            "tags" => %{"type" => "array", "items" => %{"type" => "string"}},
            "place" => %{"type" => "object"}
          }
        }
      }
    }
  ]

  def tools, do: @tools

  # format, parser of mlx-lm, what stands in front of a body and behind it, and bodies.
  @rows [
    {:hermes, "json_tools", "<tool_call>", "</tool_call>",
     [
       ~s(\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n),
       ~s({"name": "get_weather", "arguments": {}}),
       ~s({"name": "é", "arguments": {"a": {"b": [1, 2.5, null, true, "ü\\n\\"x\\""]}}})
     ]},
    {:qwen_coder, "qwen3_coder", "<tool_call>", "</tool_call>",
     [
       "\n<function=get_weather>\n<parameter=city>\nNew\nYork\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n"
       |> String.trim_trailing("\n"),
       "<function=get_weather><parameter=wind>true</parameter><parameter=tags>[\"a\", \"b\"]</parameter></function>",
       "<function=get_weather><parameter=ratio>2.5</parameter><parameter=place>{\"x\": 1}</parameter></function>",
       "<function=other><parameter=anything>12</parameter></function>",
       "<function=get_weather>\n</function>"
     ]},
    {:mistral, "mistral", "[TOOL_CALLS]", "",
     [
       ~s([{"name": "get_weather", "arguments": {"city": "Paris"}}, {"name": "b", "arguments": {}}]),
       ~s( [{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}]),
       ~s(get_weather[ARGS]{"city": "Paris"}),
       ~s(get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]b[ARGS]{"x": [1]})
     ]},
    {:gemma, "gemma4", "<|tool_call>", "<tool_call|>",
     [
       ~s(call:get_weather{city:<|"|>Paris {x}<|"|>,days:3}),
       ~s(call:get_weather{tags:[<|"|>a<|"|>,<|"|>b<|"|>],place:{x:1,y:{z:true}},ratio:2.5}),
       ~s(call:get_weather{}call:b{wind:false})
     ]},
    {:function_gemma, "function_gemma", "<start_function_call>", "<end_function_call>",
     [~s(call:get_weather{city:<escape>Paris, France<escape>,days:3}), ~s(call:get_weather{wind:true})]},
    {:glm, "glm47", "<tool_call>", "</tool_call>",
     [
       "get_weather\n<arg_key>city</arg_key>\n<arg_value>12</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n",
       "get_weather<arg_key>place</arg_key><arg_value>{\"x\": [1]}</arg_value>",
       "get_weather<arg_key>tags</arg_key><arg_value>['a', 'b']</arg_value>",
       ~s({"name": "get_weather", "arguments": {"city": "Paris"}}),
       "get_weather"
     ]},
    {:longcat, "longcat", "<longcat_tool_call>", "</longcat_tool_call>",
     [
       "get_weather\n<longcat_arg_key>city</longcat_arg_key>\n<longcat_arg_value>12</longcat_arg_value>\n" <>
         "<longcat_arg_key>days</longcat_arg_key>\n<longcat_arg_value>3</longcat_arg_value>\n"
     ]},
    {:kimi, "kimi_k2", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>",
     [
       ~s(<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Paris"}<|tool_call_end|>),
       ~s(<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{}<|tool_call_end|>) <>
         ~s(<|tool_call_begin|>b:1 <|tool_call_argument_begin|> {"x": 1} <|tool_call_end|>)
     ]},
    {:minimax, "minimax_m2", "<minimax:tool_call>", "</minimax:tool_call>",
     [
       ~s(\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n<parameter name="days">3</parameter>) <>
         ~s(\n</invoke>\n<invoke name="b">\n</invoke>\n),
       ~s(<invoke name="get_weather"><parameter name="wind">yes</parameter><parameter name="ratio">2.0</parameter></invoke>),
       ~s(<invoke name='get_weather'><parameter name='tags'>["a"]</parameter><parameter name="place">null</parameter></invoke>)
     ]},
    {:muse_spark, "muse_spark", "<atem:function_calls>", "</atem:function_calls>",
     [~s(<atem:invoke name="get_weather"><atem:parameter name="city">Paris</atem:parameter></atem:invoke>)]},
    {:pythonic, "pythonic", "<|tool_call_start|>", "<|tool_call_end|>",
     [
       ~s/[get_weather(city="Paris", days=3)]/,
       ~s/[get_weather(city='O\\'Brien, "x"', tags=["a", 'b'], place={"x": null, 'y': True}), geo.find(ratio=-2.5e3)]/,
       ~s/[get_weather()]/
     ]}
  ]

  @doc "Each text with its format, mlx-lm's parser, and the body that the parser is given."
  def all do
    for {format, parser, start, stop, bodies} <- @rows, body <- bodies do
      %{format: format, parser: parser, body: body, text: start <> body <> stop}
    end
  end
end
