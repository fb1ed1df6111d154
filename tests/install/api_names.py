"""The functions that headers of include/cbe mark CBE_API."""

import re
from pathlib import Path


def read_api_names(include):
    names = set()
    for header in sorted(Path(include, "cbe").glob("*.h")):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
        for declaration in re.findall(r"\bCBE_API\b([^;]*);", text):
            names.add(re.match(r"[^(]*?(\w+)\s*\(", declaration).group(1))
    return names
