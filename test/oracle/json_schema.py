"""Judges texts: reads lines of JSON from a file, and prints a line for each text that is wrong.

A line is {"schema": schema, "texts": [text]} for JSON of a schema, or {"regex": pattern, "texts": [text]} for whole matches.
The last line is the number of texts.
"""
import json
import re
import sys

import jsonschema


def constant(name):
    raise ValueError("no JSON: " + name)


def problem(case, text):
    if "regex" in case:
        return None if re.fullmatch(case["regex"], text) else "no match"
    try:
        value = json.loads(text, parse_constant=constant)
    except ValueError as error:
        return "no JSON: %s" % error
    validator = jsonschema.Draft202012Validator
    checker = validator(case["schema"], format_checker=validator.FORMAT_CHECKER)
    error = jsonschema.exceptions.best_match(checker.iter_errors(value))
    return None if error is None else error.message


count = 0
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        case = json.loads(line)
        for text in case["texts"]:
            count += 1
            found = problem(case, text)
            if found:
                print(json.dumps({"case": case.get("schema", case.get("regex")), "text": text, "problem": found}))
print(count)
