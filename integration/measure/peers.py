"""Which programs take part, how they are had, and which versions they are."""

import json
import os
import pathlib
import subprocess

CONTENDERS = ("emperor", "veth", "relay")


class Tools:
    """Paths of the programs."""

    def __init__(self, **paths):
        self.__dict__.update(paths)

    def to_json(self):
        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text):
        return cls(**json.loads(text))


def find(options):
    """Builds what is ours."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve()
    given = os.environ.get("MINI_EMPEROR")
    cargo = ["cargo", "build", "--quiet", "--release"]
    subprocess.run([*cargo, "--examples"], check=True)
    if not given:
        subprocess.run([*cargo, "--bin", "mini-emperor"], check=True)
    release = target / "release"
    return Tools(emperor=os.path.abspath(given) if given else str(release / "mini-emperor"),
                 loads=str(release / "examples/loads"), relay=str(release / "examples/relay"))
