"""Reads params.toml: the small part of TOML that it uses, for Pythons before tomllib."""
import json
import re


def load(path="params.toml"):
    params, section = {}, None
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = re.sub(r"\s#.*|^#.*", "", line).strip()
            if line.startswith("["):
                section = params.setdefault(line.strip("[]"), {})
            elif line:
                key, value = (part.strip() for part in line.split("=", 1))
                (params if section is None else section)[key] = json.loads(value)
    return params
