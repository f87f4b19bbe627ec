"""Does the runs of runs.json in the folder that it is started in."""

import json
import os
from pathlib import Path

from alframe.cli import run
from alframe.errors import UserError

said = []
for words in json.loads(Path("runs.json").read_text()):
    try:
        run(*words)
        said.append(None)
    except UserError as mistake:
        said.append(str(mistake))
if os.environ["RANK"] == "0":
    Path("said.json").write_text(json.dumps(said))
