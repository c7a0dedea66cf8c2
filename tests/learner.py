"""A trainer for tests that learns at once: the answer chosen most often becomes the policy's only one; and a suite to
learn from."""

from __future__ import annotations

from pathlib import Path

from conftest import write_rows


def yes_or_no(folder: Path) -> Path:
    """A suite on disk: 30 prompts without gold, 20 test items whose right answer is yes."""
    write_rows(folder / "prompts.jsonl", *({"id": f"p{i}", "prompt": f"Is {i} a number?"} for i in range(30)))
    rows = ({"id": f"t{i}", "prompt": f"Is {i}.5 a number?", "reference": "yes"} for i in range(20))
    write_rows(folder / "test.jsonl", *rows)
    return folder


SOURCE = '''
import json
from collections import Counter
import tao_hub

CALLS = []

class Majority(tao_hub.Trainer):
    """The most frequent best answer becomes the template of an echo policy."""
    def update(self, groups, start, out, progress=None):
        CALLS.append(start)
        best = [g.candidates[i].response for g in groups if (i := g.best()) is not None]
        out.mkdir(parents=True, exist_ok=True)
        (out / "chosen.json").write_text(json.dumps(best))
        ((answer, _),) = Counter(best).most_common(1)
        return tao_hub.Ref("core/echo", {"template": answer})

@tao_hub.hookimpl
def register_trainers(register):
    register("majority", Majority)
'''

# The same with options; it remembers those it was called with.
WITH_OPTIONS = (
    SOURCE.replace("CALLS = []", "CALLS = []\nSEEN = []")
    .replace("CALLS.append(start)", "SEEN.append((self.options.epochs, self.options.min_parts))")
    .replace(
        '    """The most frequent',
        """    class Options(tao_hub.Options):
        min_parts: dict = {}
        epochs: int = 1
    \"\"\"The most frequent""",
    )
)
