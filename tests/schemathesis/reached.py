"""Tells what each operation of the API answered to schemathesis, and fails for one that never got to anything that there is.

    reached.py OPENAPI HAR EXCLUDED-PATH
"""

import collections
import json
import re
import sys
import urllib.parse
import urllib.request

document, har, excluded = sys.argv[1:]
with urllib.request.urlopen(document, timeout=30) as answer:
    paths = json.load(answer)["paths"]
operations = [
    (method.upper(), path, re.compile("[^/]*".join(map(re.escape, re.split(r"\{[^}]*\}", path)))))
    for path, item in paths.items()
    for method in item
    if path != excluded
]
answers = collections.defaultdict(collections.Counter)
with open(har, encoding="utf-8") as file:
    for entry in json.load(file)["log"]["entries"]:
        asked = urllib.parse.urlsplit(entry["request"]["url"]).path
        for method, path, pattern in operations:
            if entry["request"]["method"] == method and pattern.fullmatch(asked):
                answers[method, path][entry["response"]["status"]] += 1

missed = []
for method, path, _ in operations:
    statuses = answers[method, path]
    told = "  ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    print(f"{method:6} {path:58} {told}")
    # A conflict is an answer about something that there is: no change waits, the configuration has a mapping.
    if not any(200 <= status < 300 or status == 409 for status in statuses):
        missed.append(f"{method} {path}")
if missed:
    sys.exit("never reached: " + ", ".join(missed))
