defmodule Mlx.LM.ChatTemplateTest do
  use ExUnit.Case, async: true

  alias Mlx.IO.GGUFMetadata
  alias Mlx.LM.ChatTemplate
  alias Mlx.LM.ChatTemplate.{Arguments, Format, JSON, Value}

  doctest ChatTemplate
  doctest Arguments
  doctest Format

  @script Path.expand("../../oracle/chat_template.py", __DIR__)

  @variables [
    messages: [
      %{role: "system", content: "You are terse."},
      %{role: "user", content: "  What is 1 < 2 & 'x'?\n"},
      %{role: "assistant", content: "", tool_calls: [%{type: "function", function: %{name: "f", arguments: %{a: 1}}}]},
      %{role: "tool", content: [%{type: "text", text: "é😀"}, %{type: "image"}]},
      %{role: "user", content: nil}
    ],
    tools: [%{name: "f", parameters: %{properties: %{a: %{type: "integer"}}, required: ["a"], empty: [], none: %{}}}],
    n: 7,
    x: 2.5,
    s: "Hello, World",
    words: ["b", "a", "C", "a"],
    numbers: [3, 1, 2],
    nested: [[1, 2], [3], []],
    d: [z: 1, a: "two", items: 3],
    people: [%{name: "Bo", age: 3, at: %{x: 1}}, %{name: "al", age: 1, at: %{x: 0}}, %{name: "Cy", at: %{x: 2}}],
    empty: [],
    yes: true,
    nothing: nil,
    add_generation_prompt: true,
    bos_token: "<s>",
    eos_token: "</s>"
  ]

  # Templates whose text is compared with jinja2's, by what they show.
  @templates [
    data: ["", "plain", "a\n", "a\n\n", "\n", "a { b } %} }} #}", "ünï 😀", "a\r\nb\rc", "{ { x } }"],
    output: [
      "{{ s }}",
      "{{s}}{{ n }}",
      "{{ x }} {{ yes }} {{ nothing }} {{ missing }}|",
      "{{ numbers }} {{ words }} {{ d }}",
      "{{ 1, 2 }} {{ (1,) }} {{ () }}",
      "{{ 'it''s' }}",
      "{{ [\"it's\", 'say \"hi\"', 'both \\'\"', 'tab\\t', '\\x00é\\u200b'] }}",
      "{{ {'a': {'b': 1}} }}",
      "{{ {} }} {{ [] }}",
      "{{ {1: 2, 1.0: 3, true: 4} }}",
      "{% print s %}"
    ],
    literals: [
      "{{ 'a\\n\\t\\\\ \\' \\\" \\x41 \\u00e9 \\U0001F600 \\q \\101' }}",
      "{{ \"a\" 'b' }}",
      "{{ 1_000 + 0x1F + 0b11 + 0o17 }}",
      "{{ 1.5 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 1e16 }} {{ 123456789.123 }} {{ 1e22 }} {{ 0.0001 }} {{ 0.1 + 0.2 }} {{ 5e-324 }}",
      "{{ true }} {{ True }} {{ none }} {{ None }} {{ false }}",
      "{{ 100000000000000000000 }}",
      "{{ -0.0 }}"
    ],
    white_space: [
      "a\n  {% if yes %}\n  b\n  {% endif %}\nc",
      "a {%- if yes -%} b {%- endif -%} c",
      "a\n\n{{- s -}}\n\n b",
      "  {{ s }}\n",
      "a\n  {%+ if yes %}\nb{% endif +%}\nc",
      "  {# x #}\n  b",
      "a {#- x -#} b",
      "a\n{# x #}\nb{# y +#}\nc",
      "{% if yes %}  \n{% endif %}",
      "{% for i in numbers %}\n  {{ i }}\n{% endfor %}\n",
      "x {% set a = 1 %}\n y",
      "  {% set a = 1 %}  {% set b = 2 %}\nz",
      "{{ 1 -}}\n  {% if yes %}a{% endif %}",
      "\t{% if yes -%}\n a \n{%- endif %}\t",
      "{% if yes %}\n\n a{% endif %}\n\n",
      "{{- s }}",
      "{{ s -}}",
      "a\n   {% if yes %}{% endif %} b",
      "\n\n{%- if yes %}x{% endif %}",
      "a{#\n multi\n#}\nb",
      "a\u00A0\u2003{%- if yes %}x{% endif %}"
    ],
    raw: [
      "{% raw %}{{ x }} {% if %}{% endraw %}",
      "a\n  {% raw %}\n b {{ }}\n  {% endraw %}\nc",
      "a {%- raw -%} {{ x }} {%- endraw -%} b",
      "{% raw -%}  x  {% endraw +%}\n"
    ],
    if: [
      "{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}",
      "{% if n < 5 %}a{% elif n == 7 %}b{% else %}c{% endif %}",
      "{% if n < 5 %}a{% elif n < 6 %}b{% else %}c{% endif %}",
      "{% if empty %}a{% endif %}{% if not missing %}b{% endif %}",
      "{% if '' or 0 or 0.0 or {} or () or none %}a{% else %}b{% endif %}",
      "{{ 'a' if yes else 'b' }}{{ 'a' if not yes else 'b' }}",
      "[{{ 'a' if not yes }}]",
      "{{ 1 if false else 2 if false else 3 }}",
      "{{ (s if yes) ~ 'x' }}"
    ],
    for: [
      "{% for i in numbers %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
      "{% for i in empty %}a{% else %}none{% endfor %}",
      "{% for i in missing %}a{% else %}none{% endfor %}",
      "{% for c in 'aé😀' %}{{ c }},{% endfor %}",
      "{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }} {% endfor %}",
      "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
      "{% for k in d %}{{ k }}{% endfor %}",
      "{% for i in numbers %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}",
      "{% for i in numbers if i > 1 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% endfor %}",
      "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
      "{% for a in nested %}{% for b in a %}{{ loop.index }}{{ loop.depth }}{% else %}-{% endfor %}{{ loop.index }};{% endfor %}",
      "{% for n in nested recursive %}{{ loop.depth0 }}{% if n is iterable %}[{{ loop(n) }}]{% else %}{{ n }}{% endif %}{% endfor %}",
      "{% for i in range(4) %}{{ loop.cycle('a', 'b', 'c') }}{% endfor %}",
      "{% for i in [1] %}{% endfor %}{{ i }}|{{ loop }}",
      "{% for m in messages %}{{ m.role }}{{ ',' if not loop.last }}{% endfor %}",
      "{% for (a, (b, c)) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}"
    ],
    set: [
      "{% set a = 1 %}{% if yes %}{% set a = 2 %}{% endif %}{{ a }}",
      "{% set a = 1 %}{% for i in numbers %}{{ a }}{% set a = i %}{{ a }}{% endfor %}{{ a }}",
      "{% set a, b = 1, 2 %}{{ b }}{{ a }}",
      "{% set ns = namespace(a=1, b='x') %}{% for i in numbers %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c }}",
      "{% set ns = namespace({'k': 1}) %}{{ ns.k }}{{ ns['k'] }}",
      "{% set a %}x{{ n }}\n y{% endset %}[{{ a }}]",
      "{% set a | upper | trim %} x{{ n }} {% endset %}[{{ a }}]",
      "{% set t = 1, 2 %}{{ t }}",
      "{% set loop_messages = messages[1:] %}{{ loop_messages | length }}",
      "{% set a %}{% set b = 1 %}{% endset %}[{{ b }}]",
      "{% set ns = namespace() %}{% set ns.x = [] %}{% for i in numbers %}{% set ns.x = ns.x + [i] %}{% endfor %}{{ ns.x }}"
    ],
    macro: [
      "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=4, a=5) }} [{{ m() }}]",
      "{% macro m(a) %}{% if a > 0 %}{{ a }}{{ m(a - 1) }}{% endif %}{% endmacro %}{{ m(4) }}",
      "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k=3) }}",
      "{% macro m(x) %}<{{ caller(x) }}>{% endmacro %}{% call(y) m(3) %}{{ y }}{{ n }}{% endcall %}",
      "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{% endcall %}",
      "{% macro m() %}{{ v }}{% endmacro %}{% set v = 1 %}{{ m() }}{% set v = 2 %}{{ m() }}",
      "{% macro m(a, b=a ~ '!') %}{{ b }}{% endmacro %}{{ m('x') }}",
      "{% macro m(a) %}{% set a = 9 %}{{ a }}{% endmacro %}{% set a = 1 %}{{ m(2) }}{{ a }}",
      "{% set ns = namespace(c=0) %}{% macro m() %}{% set ns.c = ns.c + 1 %}{% endmacro %}{{ m() }}{{ m() }}{{ ns.c }}",
      "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}b{% endmacro %}{{ a() }}",
      "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(*[1]) }}{{ m(**{'a': 2}) }}",
      "{% for i in numbers %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
      "{%- macro m(x) -%}\n  {{ x }}\n{%- endmacro -%}\n[{{ m(1) }}]"
    ],
    blocks: [
      "{% filter upper %}a{{ s }}{% endfilter %}",
      "{% filter replace('a', 'b') | upper %}aXa{% endfilter %}",
      "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}",
      "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}",
      "{% generation %}x{{ n }}{% endgeneration %}",
      "{# comment {{ x }} {% if %} #}a"
    ],
    operators: [
      "{{ 7 + 2 }} {{ 7 - 2 }} {{ 7 * 2 }} {{ 7 / 2 }} {{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 10 }}",
      "{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 6 / 2 }}",
      "{{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 2 ** -1 }} {{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ - - 1 }} {{ +n }}",
      "{{ 'a' ~ 1 ~ none ~ x ~ missing }} {{ 1 ~ 2 + 3 if false else 1 }}",
      "{{ 'ab' * 3 }} {{ [1] * 2 }} {{ [1] + [2] }} {{ (1,) + (2,) }} {{ 2 * 'x' }}",
      "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 == true }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 != 2 }} {{ 2 >= 2 }} {{ 2 <= 1 }}",
      "{{ 'a' in 'cat' }} {{ 1 in numbers }} {{ 'z' in d }} {{ 9 not in numbers }} {{ 1.0 in [1] }} {{ true in [1] }} {{ 'x' in missing }}",
      "{{ not true }} {{ not not 1 }} {{ 1 and 2 }} {{ 0 or 'x' }} {{ 0 and missing.x }} {{ 1 or missing.x }} {{ not 1 == 2 }}",
      "{{ true + true }} {{ true * 3 }} {{ none == none }} {{ missing == none }} {{ missing == other }}",
      "{{ 1 == '1' }} {{ [1] == (1,) }} {{ {'a': 1} == {'a': 1.0} }} {{ [1, [2]] == [1, [2]] }}",
      "{{ 'a' 'b' ~ 'c' | upper }} {{ -x | abs }} {{ (1, 2) | length }}",
      "{{ '%s is %d and %.2f' % ('a', 3, 2.5) }} {{ '%5d|%-5s|%05.1f|%x|%%' % (42, 'a', 3.14159, 255) }} {{ '%r' % 'q' }} {{ '%(a)s' % {'a': 1} }}"
    ],
    access: [
      "{{ d.z }} {{ d['a'] }} {{ d.missing }} {{ d['items'] }} {{ messages[0].role }} {{ messages[-1]['role'] }} {{ numbers[9] }} {{ numbers.0 }}",
      "{{ s[0] }} {{ s[-1] }} {{ s[0:5] }} {{ s[::-1] }} {{ s[7:] }} {{ s[:-7] }} {{ s[::3] }} {{ s[20] }} {{ s[5:1] }}",
      "{{ numbers[1:] }} {{ numbers[:-1] }} {{ numbers[::-1] }} {{ numbers[-2:] }} {{ numbers[10:] }} {{ (1, 2, 3)[1:] }} {{ numbers[::2] }} {{ numbers[2:0:-1] }} {{ numbers[-5:5] }}",
      "{{ messages[2].tool_calls[0].function.arguments.a }}",
      "{{ messages[1:] | length }} {{ messages | length }}",
      "{{ {'a': 1}.a }} {{ {'a': {'b': 2}}.a.b }} {{ [[1, 2]][0][1] }}",
      "{{ d.items() | list }} {{ d.keys() | list }} {{ d.values() | list }} {{ d.get('z') }} {{ d.get('q') }} {{ d.get('q', 5) }}",
      "{{ 'aé😀b'[2] }} {{ 'aé😀b' | length }} {{ 'aé😀b'[1:3] }}"
    ],
    methods: [
      "[{{ '  a b '.strip() }}] [{{ '  a '.lstrip() }}] [{{ ' a  '.rstrip() }}] {{ 'xxaxx'.strip('x') }} {{ 'abcba'.lstrip('ab') }} {{ 'abc'.rstrip('bc') }}",
      "{{ 'a,b,,c'.split(',') }} {{ '  a  b c '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a--b'.split('--')[-1] }}",
      "{{ 'abc'.startswith('a') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.upper() }} {{ 'ABC'.lower() }} {{ 'hello wORLD it\\'s'.title() }} {{ 'hELLO'.capitalize() }} {{ 'aB'.swapcase() }}",
      "{{ 'aaa'.replace('a', 'b') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.replace('x', 'y') }} {{ 'abc'.replace('', '-', 2) }}",
      "{{ 'abcabc'.find('c') }} {{ 'abcabc'.rfind('c') }} {{ 'abc'.find('x') }} {{ 'aaa'.rfind('aa') }} {{ 'abc'.rfind('x') }} {{ 'aaa'.rsplit('aa', 1) }} {{ 'aaa'.count('aa') }} {{ 'é😀c'.index('c') }} {{ 'banana'.count('an') }} {{ ''.find('') }} {{ 'abc'.find('') }} {{ 'abc'.rfind('') }} {{ 'abc'.count('') }}",
      "{{ '-'.join(['a', 'b']) }} {{ ''.join([]) }} {{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'abc'.rpartition('-') }}",
      "{{ '12'.isdigit() }} {{ 'a1'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ ''.isspace() }} {{ 'ABC'.isupper() }} {{ 'abc'.islower() }} {{ '1'.isupper() }}",
      "{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'a'.zfill(-3) }} {{ 'a'.ljust(3, '.') }} {{ 'a'.rjust(3) }} {{ 'a\\nb\\r\\nc\\n'.splitlines() }}",
      "{{ '{} and {}'.format(1, 'b') }} {{ '{1}{0}{k} {{x}}'.format('a', 'b', k='c') }}",
      "{{ numbers.count(1) }} {{ numbers.index(2) }} {{ (1, 1).count(1) }}",
      "{{ 'ΑΣ'.lower() }} {{ 'straße'.upper() }} {{ 'İ'.lower() | length }} {{ 'ÀÉ'.lower() }}"
    ],
    filters_on_strings: [
      "[{{ messages[1].content | trim }}] [{{ 'xax' | trim('x') }}] {{ s | upper }} {{ s | lower }} {{ 'hello wORLD (foo) a-b' | title }} {{ 'hELLO' | capitalize }}",
      "{{ s | length }} {{ s | count }} {{ s | first }} {{ s | last }} {{ s | reverse }} {{ s | list }}",
      "{{ s | replace('l', 'L') }} {{ s | replace('l', 'L', 1) }} {{ 12 | replace('1', 'x') }}",
      "{{ 'a\\nb\\n\\nc' | indent }}|{{ 'a\\nb' | indent(2, true) }}|{{ 'a\\n\\nb' | indent(2, blank=true) }}|{{ 'a\\nb\\n' | indent('>') }}",
      "{{ '<a href=\"x\">\\'&' | e }} {{ '<b>' | safe }} {{ 'a' | escape }}",
      "[{{ 'ab' | center(7) }}] [{{ 'abc' | center(6) }}] [{{ 'ab' | center(5) }}]",
      "{{ 'a b  c' | wordcount }} {{ '%s-%s' | format('a', 2) }} {{ 5 | string ~ 'x' }} {{ none | string }}",
      "{{ missing | upper }}|{{ missing | trim }}|{{ missing | length }}|{{ missing | list }}|{{ missing | join(',') }}"
    ],
    filters_on_numbers: [
      "{{ -3 | abs }} {{ '12' | int }} {{ '12.7' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ '0x1F' | int(base=16) }} {{ 3.9 | int }} {{ ' 4 ' | int }} {{ none | int }}",
      "{{ '1.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ '1e3' | float }} {{ '.5' | float }} {{ 'x' | float(1.5) }}",
      "{{ 2.5 | round }} {{ 3.5 | round }} {{ 42.55 | round(1) }} {{ 42.55 | round(1, 'floor') }} {{ 42.51 | round(0, 'ceil') }} {{ 7 | round }} {{ 2.675 | round(2) }} {{ 1234 | round(-2) }} {{ -2.5 | round }} {{ 1234.5 | round(-2) }}"
    ],
    filters_on_lists: [
      "{{ words | join }} {{ words | join(', ') }} {{ people | join('/', attribute='name') }} {{ numbers | join('-') }}",
      "{{ numbers | first }} {{ numbers | last }} {{ empty | first }}| {{ numbers | reverse | list }} {{ numbers | sum }} {{ numbers | min }} {{ numbers | max }} {{ empty | max }}|",
      "{{ numbers | sort }} {{ words | sort }} {{ words | sort(true) }} {{ words | sort(case_sensitive=true) }} {{ people | sort(attribute='name') | map(attribute='name') | list }}",
      "{{ words | unique | list }} {{ ['a', 'A', 'b'] | unique | list }} {{ ['a', 'A'] | unique(true) | list }} {{ [1, 1.0, true] | unique | list }}",
      "{{ words | map('upper') | list }} {{ people | map(attribute='at.x') | list }} {{ people | map(attribute='age', default=0) | list }} {{ ['a-b'] | map('replace', '-', '+') | list }} {{ nested | map('length') | list }}",
      "{{ [0, 1, '', 'a', none] | select | list }} {{ numbers | select('odd') | list }} {{ numbers | reject('gt', 1) | list }} {{ [0, 1] | reject | list }}",
      "{{ people | selectattr('age') | map(attribute='name') | list }} {{ people | selectattr('age', 'equalto', 3) | list | length }} {{ people | rejectattr('age', 'defined') | map(attribute='name') | list }} {{ messages | selectattr('role', '==', 'user') | list | length }} {{ messages | rejectattr('role', 'in', ['user', 'tool']) | map(attribute='role') | join(' ') }}",
      "{{ {'b': 1, 'A': 2} | dictsort }} {{ {'b': 1, 'a': 2} | dictsort(by='value') }} {{ {'b': 1, 'a': 2} | dictsort(reverse=true) }} {{ d | items | list }} {{ missing | items | list }}",
      "{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 'x') | list }} {{ people | sum(attribute='at.x') }} {{ people | map(attribute='at') | map(attribute='x') | max }} {{ [[1], [2]] | sum(start=[]) }}",
      "{{ d | length }} {{ d | list }} {{ d | first }} {{ people | min(attribute='at.x') | attr('name') }}|{{ words | max }} {{ words | min(case_sensitive=true) }}"
    ],
    filters_for_defaults: [
      "{{ missing | default('x') }} {{ missing | d }}| {{ '' | default('x') }}| {{ '' | default('x', true) }} {{ none | default('x') }} {{ d.q | default('y') }} {{ none | default('z', boolean=true) }}"
    ],
    json: [
      "{{ tools | tojson }}",
      "{{ tools | tojson(indent=4) }}",
      "{{ d | tojson }} {{ s | tojson }} {{ 'é😀\"\\\\ \\n\\t\\x01\\x7f<&>' | tojson }} {{ x | tojson }} {{ none | tojson }} {{ yes | tojson }} {{ [] | tojson }} {{ {} | tojson }} {{ (1, 2) | tojson }}",
      "{{ d | tojson(indent=2) }}",
      "{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ [1, 2] | tojson(separators=(',', ':')) }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }} {{ nested | tojson(indent='\\t') }}",
      "{{ messages | tojson }}"
    ],
    tests: [
      "{{ missing is defined }} {{ n is defined }} {{ missing is undefined }} {{ d.q is defined }} {{ nothing is none }} {{ n is not none }} {{ messages[0].content is string }} {{ messages[3].content is string }}",
      "{{ n is number }} {{ x is number }} {{ yes is number }} {{ n is integer }} {{ yes is integer }} {{ x is float }} {{ yes is boolean }} {{ yes is true }} {{ yes is false }} {{ 1 is true }}",
      "{{ d is mapping }} {{ numbers is mapping }} {{ numbers is sequence }} {{ s is sequence }} {{ d is sequence }} {{ n is sequence }} {{ s is iterable }} {{ n is iterable }} {{ d is iterable }} {{ (1,) is sequence }}",
      "{{ 3 is odd }} {{ 3 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is equalto 1 }} {{ 1 is eq(2) }} {{ 2 is gt 1 }} {{ 2 is le 1 }} {{ 1 is ne 2 }} {{ 1 is in [1, 2] }} {{ 1 is not in [2] }} {{ 'a' is in 'abc' }}",
      "{{ 'abc' is lower }} {{ 'ABC' is upper }} {{ none is sameas none }} {{ s is not number and n is number }} {{ 'x' is defined and true }} {{ (n is number) if yes else 0 }} {{ range is callable }} {{ (1 is odd) is true }} {{ missing is iterable }}"
    ],
    functions: [
      "{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ range(0) | list }} {{ range(0, 10, 3) | list }}",
      "{{ dict(a=1, b=2) }} {{ dict({'x': 1}, y=2) }} {{ dict([('a', 1)]) }}",
      "{% if false %}{{ raise_exception('no') }}{% endif %}ok",
      "{{ range(3)[1] }} {{ range(10) | length }} {{ range(3) | sum }}"
    ],
    odds_and_ends: [
      "{{ d.get(\n  'z'\n) }}{{ 'a\\\nb' }} {{ {(1, true): 'x'}[(1, 1)] }} {{ {false: 1}[0] }} {{ {1.5: 2}[1.5] }} {{ none.x }}|{{ n.x }}|{{ n[0] }}|{{ words[true] }} {{ (1, 2)[1] }}",
      "{{ nested | map(attribute=0) | list }} {{ nested | map(attribute='0') | list }} {{ [1] | map(attribute=[]) | list }} {{ numbers[false:true] }} {{ loop is defined }} {% for i in [1] %}{{ loop.nope }}{% endfor %}",
      "{{ '%(a)s %(b)d' | format(a='x', b=2) }} {{ '%.2s|%X|%o|%f|%+d' % ('abc', 255, 8, 1.5, 3) }} {{ 'abc' | attr('upper') is callable }} {{ 'abc' | attr('nope') }}|",
      "{{ 3 | int }} {{ true | int }} {{ true | float }} {{ none | float(2.0) }} {{ [1] | tojson(separators=[';', '=']) }} {{ '\\r\\b\\f' | tojson }} {{ 'a b c'.rsplit(none, 1) }} {{ 'a b '.split(none, 1) }} {{ 'ABC'.casefold() }} {{ d.copy() == d }}",
      "{{ ''.splitlines() }} {{ 'a'.replace('a', 'b', 0) }} [{{ '' | capitalize }}] {{ ['\\\\', '\\n\\r', '\\U000e0001'] }} {{ (1, 2) == (1, 2) }} {{ (1, 2) < (1, 3) }} {{ {'a': 1} == {'b': 1} }} {{ 0 == false }} {{ true == 1 }} {{ (1,) * 2 }}",
      "{{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ s is escaped }} {{ true is odd }} {{ [missing] }} {{ numbers.copy() }} {{ (s | upper)[0] }} {{ x is not mapping }} {% for (a,) in [[1]] %}{{ a }}{% endfor %} {{ (1, ) }} {{ 1, }}",
      "{{ words[-3:][0] }} {{ words[1:2] }} {{ 'abc'[-10:2] }} {{ 'abc'[-1:] }} {{ 'abcdef'[4:1:-2] }} {{ ''[0] }}| {{ 'a'[-2] }}| {{ 'é'[-1] }}"
    ],
    templates: [
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + (message['content'] if message['content'] is string else '') + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
      """
      {{- bos_token }}
      {%- if messages[0]['role'] == 'system' %}
          {%- set system_message = messages[0]['content'] | trim %}
          {%- set messages = messages[1:] %}
      {%- else %}
          {%- set system_message = "" %}
      {%- endif %}
      {%- if tools is not none %}
          {{- "<|tools|>\\n" }}
          {%- for t in tools %}
              {{- t | tojson(indent=4) }}
              {{- "\\n\\n" }}
          {%- endfor %}
      {%- endif %}
      {{- system_message }}
      {%- for message in messages %}
          {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
              {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + (message['content'] or '') | trim + '<|eot_id|>' }}
          {%- elif 'tool_calls' in message %}
              {%- if not message.tool_calls | length == 1 %}
                  {{- raise_exception("one tool call only") }}
              {%- endif %}
              {%- set tool_call = message.tool_calls[0].function %}
              {{- '{"name": "' + tool_call.name + '", "parameters": ' }}
              {{- tool_call.arguments | tojson }}
              {{- "}" }}
          {%- elif message.content is mapping or message.content is iterable %}
              {{- message.content | tojson }}
          {%- else %}
              {{- message.content }}
          {%- endif %}
      {%- endfor %}
      """,
      """
      {%- macro render_content(content) -%}
        {%- if content is string -%}
          {{- content -}}
        {%- elif content is none -%}
        {%- else -%}
          {%- for item in content if item.type == 'text' -%}
            {{- item['text'] -}}
          {%- endfor -%}
        {%- endif -%}
      {%- endmacro -%}
      {%- set ns = namespace(last_user=-1) %}
      {%- for m in messages[::-1] %}
        {%- set index = (messages | length - 1) - loop.index0 %}
        {%- if ns.last_user < 0 and m.role == 'user' %}{% set ns.last_user = index %}{% endif %}
      {%- endfor %}
      {% for m in messages %}
      [{{ m.role | upper }}{{ '*' if loop.index0 == ns.last_user }}] {{ render_content(m.content).strip() }}
      {% endfor %}
      {{ eos_token }}
      """
    ]
  ]

  # Templates that jinja2 refuses, with a part of what is said here, and the line.
  @errors [
    {"{% if yes %}", 1, "the if block does not end"},
    {"a\n{% for i in x %}\n{% endif %}", 3, "unknown tag 'endif'"},
    {"\n\n{{ 1 + }}", 3, "unexpected end of the tag"},
    {"{{ 'abc }}", 1, "a string does not end"},
    {"{{ (1 }}", 1, "unexpected '}'"},
    {"{{ 1", 1, "does not end"},
    {"{# x", 1, "a comment does not end"},
    {"{% raw %}x", 1, "a raw block does not end"},
    {"{% nope %}", 1, "unknown tag 'nope'"},
    {"{% set %}", 1, "unexpected end"},
    {"{{ 1 ? 2 }}", 1, "unexpected character"},
    {"a\n{{ missing.x }}", 2, "'missing' is undefined"},
    {"{{ d.q.r }}", 1, "has no attribute 'q'"},
    {"{{ missing() }}", 1, "'missing' is undefined"},
    {"{{ missing + 1 }}", 1, "'missing' is undefined"},
    {"{{ s() }}", 1, "can't be called"},
    {"\n{{ s | nope }}", 2, "no filter 'nope'"},
    {"{{ s is nope }}", 1, "no test 'nope'"},
    {"{{ raise_exception('Roles must alternate') }}", 1, "Roles must alternate"},
    {"{{ 1 + 'a' }}", 1, "can't add"},
    {"{{ s + 1 }}", 1, "can't add"},
    {"{{ [] + 1 }}", 1, "unsupported operand"},
    {"{{ 1 < 'a' }}", 1, "no order"},
    {"{{ 1 / 0 }}", 1, "division by zero"},
    {"{{ 1 % 0 }}", 1, "division by zero"},
    {"{{ words.append('x') }}", 1, "would change a list"},
    {"{{ d.update({}) }}", 1, "would change a dict"},
    {"{{ n | length }}", 1, "has no len()"},
    {"{% for i in n %}{% endfor %}", 1, "not iterable"},
    {"{% for a, b in numbers %}{% endfor %}", 1, "not iterable"},
    {"{% for a, b in [[1]] %}{% endfor %}", 1, "2 values are needed"},
    {"{% set s.x = 1 %}", 1, "not a namespace"},
    {"{{ range(100001) }}", 1, "too long"},
    {"{{ range() }}", 1, "one to three"},
    {"{{ 'a'.index('b') }}", 1, "substring not found"},
    {"{{ s.strip(1) }}", 1, "a string is needed"},
    {"{{ {[]: 1} }}", 1, "unhashable type: 'list'"},
    {"{{ missing | tojson }}", 1, "not JSON serializable"},
    {"{{ words | join(1, 2, 3) }}", 1, "at most"},
    {"{{ words | join(x=1) }}", 1, "unexpected keyword argument 'x'"},
    {"{{ s | replace('a') }}", 1, "needs the argument 'new'"},
    {"{% macro m(a) %}{{ m(a) }}{% endmacro %}{{ m(1) }}", 1, "deep"},
    {"{% set nope.x = 1 %}", 1, "'nope' is undefined"},
    {"{{ dict(**1) }}", 1, "not a dict"},
    {"{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}", 1, "two values"},
    {"{{ range(1, 2, 0) }}", 1, "must not be zero"},
    {"{{ namespace(1, 2) }}", 1, "one value"},
    {"{{ dict([[1]]) }}", 1, "pairs are needed"},
    {"{{ raise_exception() }}", 1, "does not take"},
    {"{{ '%s' | format(1, a=2) }}", 1, "not both"},
    {"{{ [1] | map | list }}", 1, "needs the argument 'attribute'"},
    {"{{ [1] | select('odd', a=1) | list }}", 1, "does not take"},
    {"{{ 1 | dictsort }}", 1, "needs a dict"},
    {"{{ d | dictsort(by='x') }}", 1, "by 'value'"},
    {"{{ [1, 'a'] | max }}", 1, "max(): "},
    {"{{ 1 | tojson(separators=3) }}", 1, "pair of strings"},
    {"{{ 1.5 | round(1, 'x') }}", 1, "common, ceil or floor"},
    {"{{ 'a' | indent([]) }}", 1, "an integer is needed"},
    {"{{ [1] | map(1) | list }}", 1, "a string is needed"},
    {"{{ '%(a)s' % {} }}", 1, "no value for the format key"},
    {"{{ '%(a)s' % 1 }}", 1, "requires a mapping"},
    {"{{ '%q' % 1 }}", 1, "unsupported format '%q'"},
    {"{{ '%x' % 2.5 }}", 1, "unsupported format '%x'"},
    {"{% for i in [1] %}{{ loop.cycle() }}{% endfor %}", 1, "no items"},
    {"{{ '{}'.format() }}", 1, "no argument 0"},
    {"{{ '{a}'.format() }}", 1, "unsupported format field"},
    {"{{ '\\xZZ' }}", 1, "bad escape"},
    {"{{ s.split(missing) }}", 1, "'missing' is undefined"},
    {"{{ s.split(',', 'x') }}", 1, "an integer is needed"},
    {"{{ s.split('') }}", 1, "empty separator"},
    {"{% %}", 1, "a tag needs a name"},
    {"{% for x of y %}{% endfor %}", 1, "unexpected \"of\""},
    {"{{ 'x' is odd }}", 1, "an integer is needed"},
    {"{{ missing is odd }}", 1, "'missing' is undefined"},
    {"{{ 5 is divisibleby 0 }}", 1, "division by zero"},
    {"{{ range | length }}", 1, "has no len()"},
    {"{{ 1 in 'a' }}", 1, "needs a string"},
    {"{{ 1 + missing }}", 1, "'missing' is undefined"},
    {"{{ 10.0 ** 400 }}", 1, "too large"},
    {"{{ none * 2 }}", 1, "unsupported operand"},
    {"{{ 0 ** -1 }}", 1, "negative power"},
    {"{{ missing | int }}", 1, "'missing' is undefined"},
    {"{{ words[::0] }}", 1, "cannot be zero"},
    {"{{ words['a':] }}", 1, "slice indices"},
    {"{{ missing[0] }}", 1, "'missing' is undefined"},
    {"{{ -s }}", 1, "bad operand"},
    {"{{ 2.5 | items | list }}", 1, "from a mapping"},
    {"{{ '%d' % 'x' }}", 1, "a number is required"},
    {"{{ '%s %s' % 'x' }}", 1, "not enough arguments"},
    {"{{ 'x' % 1 }}", 1, "not all arguments"}
  ]

  defp ours(source, variables \\ @variables) do
    ChatTemplate.render(ChatTemplate.compile(source), variables[:messages] || [], Keyword.delete(variables, :messages))
  end

  defp oracle(cases) do
    lines =
      for {source, variables} <- cases do
        json = JSON.encode(Value.from_term(variables), nil, {", ", ": "}, false)
        Base.encode64(source) <> " " <> Base.encode64(json)
      end

    input = Path.join(System.tmp_dir!(), "mlx-chat-template-#{System.unique_integer([:positive])}.txt")
    File.write!(input, Enum.join(lines, "\n"))

    try do
      {output, 0} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, input])

      for line <- output |> String.split("\n") |> Enum.take(length(cases)) do
        [outcome | text] = String.split(line, " ")
        {outcome, text |> Enum.join() |> Base.decode64!()}
      end
    after
      File.rm(input)
    end
  end

  describe "like jinja2" do
    @describetag :oracle

    for {feature, templates} <- @templates do
      test "#{feature}" do
        templates = unquote(templates)
        expected = oracle(for template <- templates, do: {template, @variables})

        for {template, {outcome, text}} <- Enum.zip(templates, expected) do
          assert {template, outcome, text} == {template, "ok", ours(template)}
        end
      end
    end

    test "errors" do
      for {{template, _line, _message}, {outcome, text}} <-
            Enum.zip(@errors, oracle(for {template, _line, _message} <- @errors, do: {template, @variables})) do
        assert {template, outcome, text} == {template, "error", text}
      end
    end

    @tag :model
    test "SmolLM2's own template" do
      source = GGUFMetadata.read(System.fetch_env!("MLX_TEST_MODEL")).metadata["tokenizer.chat_template"]
      user = %{role: "user", content: "What is the capital of France?"}

      conversations = [
        [messages: [user], add_generation_prompt: true],
        [messages: [%{role: "system", content: "Be brief."}, user], add_generation_prompt: true],
        [
          messages: [user, %{role: "assistant", content: "Paris.\n"}, %{role: "user", content: " 😀 "}],
          add_generation_prompt: false
        ]
      ]

      for {variables, {outcome, text}} <-
            Enum.zip(conversations, oracle(for variables <- conversations, do: {source, variables})) do
        assert {outcome, text} == {"ok", ours(source, variables)}
      end
    end
  end

  test "what is wrong comes with its line" do
    for {template, line, message} <- @errors do
      error = assert_raise Mlx.Error, fn -> ours(template) end
      assert error.message =~ "chat template, line #{line}: "
      assert {template, error.message =~ message, error.message} == {template, true, error.message}
    end
  end

  test "variables from Elixir" do
    assert ours("{{ a }} {{ b }} {{ c }}", messages: [], a: :atom, b: {1, nil}, c: [z: 1, y: %{"k" => 2, :j => 1}]) ==
             "atom (1, None) {'z': 1, 'y': {'j': 1, 'k': 2}}"

    assert ours("{{ f(2) }}{{ strftime_now('%Y') }}", messages: [], f: &(&1 * 2), strftime_now: fn "%Y" -> "2026" end) ==
             "42026"

    assert ours("{{ messages[0].content }}", messages: [%{content: <<"a", 0xFF>>}]) == "a\uFFFD"
    assert_raise ArgumentError, fn -> ours("", messages: [self()]) end
    assert_raise ArgumentError, fn -> ours("", messages: [1..2]) end
  end

  test "the time" do
    year = ours("{{ strftime_now('%Y') }}")
    assert year in [to_string(Date.utc_today().year), to_string(Date.utc_today().year + 1)]
    assert ours("{{ strftime_now('%d %b %Y') }}") =~ ~r/^\d\d [A-Z][a-z]{2} \d{4}$/
    assert_raise Mlx.Error, ~r/time format/, fn -> ours("{{ strftime_now('%!') }}") end
  end

  test "hostile templates are stopped" do
    for template <- [
          "{{ range(10 ** 9) | list }}",
          "{% for a in range(100000) %}{% for b in range(100000) %}{{ b }}{% endfor %}{% endfor %}",
          "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
          "{{ 'x' * 10 ** 12 }}",
          "{{ [0] * 10 ** 12 }}",
          "{{ 10 ** (10 ** 10) }}",
          "{% set ns = namespace(n=3) %}{% for i in range(100) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
          "{% set ns = namespace(s='xx') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
          "{% set ns = namespace(s=[1, 2]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
          "{% set ns = namespace(s=[1, 2]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
          "{% set ns = namespace(s=[1, 2]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson }}",
          "{% set s = 'x' * 8000000 %}{{ s | replace('x', s) }}",
          "{% set s = 'x' * 8000000 %}{{ range(1000) | map('string') | join(s) }}",
          "{% set s = 'x' * 8000000 %}{% for i in range(10000) %}{{ s }}{% endfor %}",
          "{{ ('x' * 8000000) | list }}",
          "{{ ('x' * 8000000)[::-1] }}",
          "{{ 'x' | center(10 ** 12) }}",
          "{{ 'a\\nb' | indent(10 ** 12) }}",
          "{{ 'x'.zfill(10 ** 12) }}",
          "{{ 'x'.ljust(10 ** 12) }}",
          "{{ '%999999999999d' % 1 }}",
          "{{ [1] | batch(10 ** 12, 0) | list }}",
          "{{ [1] | tojson(indent=10 ** 12) }}",
          "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
          "{% for i in [[]] recursive %}{{ loop([i]) }}{% endfor %}",
          "{{ " <> String.duplicate("(", 100_000),
          String.duplicate("x", 2_000_000),
          <<"{{ x }}", 0xFF>>
        ] do
      task = Task.async(fn -> assert_raise Mlx.Error, fn -> ours(template) end end)
      assert {:ok, %Mlx.Error{}} = Task.yield(task, 60_000) || Task.shutdown(task, :brutal_kill)
    end
  end

  test "whatever is combined renders or raises Mlx.Error" do
    :rand.seed(:exsss, {11, 12, 13})

    values =
      ~w(0 1 -3 2.5 1e300 true none missing s words numbers nested d people empty messages range m loop ns) ++
        ~w|'' 'a' '%s' '%x' '{}' (1,2) () {} [] {1:2} [none] [[1],'a'] 'é😀' '1' 10**30 d.get s.upper|

    filters =
      ~w(abs attr batch capitalize center count d default dictsort e first float format indent int items join last) ++
        ~w(length list lower map max min reject rejectattr replace reverse round safe select selectattr sort) ++
        ~w(string sum title tojson trim unique upper wordcount)

    methods =
      ~w(capitalize casefold copy count endswith find format get index isalpha isdigit items join keys ljust) ++
        ~w(lower partition removeprefix replace rfind rjust rpartition rsplit rstrip split splitlines) ++
        ~w(startswith strip swapcase title upper values zfill nope append cycle index0 previtem)

    tests =
      ~w(boolean callable defined divisibleby eq even float ge gt in integer iterable le lower lt mapping ne none) ++
        ~w(number odd sameas sequence string true undefined upper)

    operators = ~w(+ - * / // % ** ~ == != < > <= >= and or in) ++ ["not in"]
    value = fn -> Enum.random(values) end
    arguments = fn -> Enum.map_join(Enum.take_random(1..3, :rand.uniform(4) - 1), ", ", fn _ -> value.() end) end

    expression = fn ->
      case :rand.uniform(7) do
        1 -> "#{value.()} | #{Enum.random(filters)}"
        2 -> "#{value.()} | #{Enum.random(filters)}(#{arguments.()})"
        3 -> "(#{value.()}).#{Enum.random(methods)}(#{arguments.()})"
        4 -> "(#{value.()}) is #{Enum.random(tests)}(#{arguments.()})"
        5 -> "(#{value.()}) #{Enum.random(operators)} (#{value.()})"
        6 -> "(#{value.()})[#{Enum.random([value.(), "#{value.()}:#{value.()}", "::#{value.()}"])}]"
        7 -> "#{Enum.random(~w(range namespace dict strftime_now loop m))}(#{arguments.()})"
      end
    end

    outcomes =
      for _round <- 1..20_000 do
        source =
          "{% set ns = namespace(a=1) %}{% macro m(a) %}{{ a }}{% endmacro %}" <>
            "{% for i in [1, 2] %}{% set v = #{expression.()} %}{{ v }}{{ v | tojson if v is sequence }}{% endfor %}"

        try do
          assert source |> ours() |> String.valid?()
          :rendered
        rescue
          error in Mlx.Error -> assert error.message =~ "chat template, line 1: " && :refused
        end
      end

    assert Enum.frequencies(outcomes).rendered > 2_000
    assert Enum.frequencies(outcomes).refused > 2_000
  end

  test "deep but honest nesting renders" do
    depth = 5_000
    assert ours(String.duplicate("{% if yes %}", depth) <> "x" <> String.duplicate("{% endif %}", depth)) == "x"
    assert ours("{{ " <> String.duplicate("not ", depth) <> "yes }}") == "True"
    assert ours("{{ x" <> String.duplicate(" | string", depth) <> " }}") == "2.5"
  end
end
