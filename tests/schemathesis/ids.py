"""Asks the API of a demo for the ids that there are, and writes them where schemathesis.toml looks for them.

    ids.py ADDRESS TOKEN FOLDER
"""

import json
import pathlib
import sys
import urllib.request

address, token, folder = sys.argv[1:]


def get(path):
    request = urllib.request.Request(f"{address}/api/v1/{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def ids(path, member):
    return sorted(item["id"] for item in get(path)[member])


submissions = ids("submissions", "submissions")
connections = ids("connections", "connections")
found = {
    "flow": ids("flows", "flows"),
    "destination": ids("destinations", "destinations"),
    "connection": connections,
    "form": sorted(form for connection in connections for form in ids(f"connections/{connection}/forms", "forms")),
    "submission": submissions,
    "delivery": sorted(
        delivery["key"] for submission in submissions for delivery in get(f"submissions/{submission}")["deliveries"]
    ),
}
for kind, values in found.items():
    if not values:
        sys.exit(f"the demo has no {kind}")
    lines = "".join(json.dumps(value) + "\n" for value in values)
    pathlib.Path(folder, f"{kind}.dict").write_text(lines, encoding="ascii")
