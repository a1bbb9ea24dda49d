"""What mlx-lm's tool parsers make of texts: an object of JSON a line in, `{"parser", "body", "tools"}`, and a list of calls out, or null.

The second argument of a parser is the list of tools. Its result is one call or a list of calls.
"""

import importlib
import importlib.util
import json
import sys

from small_models import stand_in

# The package itself asks for more than its parsers do.
stand_in("mlx_lm", importlib.util.find_spec("mlx_lm").submodule_search_locations)


def calls(case):
    module = importlib.import_module("mlx_lm.tool_parsers." + case["parser"])
    try:
        parsed = module.parse_tool_call(case["body"], case["tools"] or None)
    except Exception:
        return None
    parsed = parsed if isinstance(parsed, list) else [parsed]
    return [{"name": call["name"], "arguments": call["arguments"]} for call in parsed]


with open(sys.argv[1]) as file:
    for line in file:
        print(json.dumps(calls(json.loads(line))))
