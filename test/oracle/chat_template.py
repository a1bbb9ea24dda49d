"""Python's jinja2, set up as for chat templates, as the oracle of Mlx.LM.ChatTemplate.

    chat_template.py INPUT    a template and its variables as JSON, both in base64, a line
                              -> `ok` and the text in base64, or `error` and the message in base64
"""

import base64
import json
import sys

from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise TemplateError(message)


ENVIRONMENT = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
)
ENVIRONMENT.filters["tojson"] = tojson
ENVIRONMENT.globals["raise_exception"] = raise_exception


def decode(text):
    return base64.b64decode(text).decode()


def encode(text):
    return base64.b64encode(text.encode()).decode()


def render(line):
    template, variables = map(decode, line.split(" "))
    try:
        return "ok " + encode(ENVIRONMENT.from_string(template).render(**json.loads(variables)))
    except Exception as error:
        return "error " + encode(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        for line in file.read().split("\n"):
            print(render(line))
