"""Which programs take part, how they are had, and which versions they are."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from .loads import CONGESTION
from .space import read

CONTENDERS = ("emperor", "veth", "relay", "uwsgi", "pasta", "slirp4netns")

# Programs that are called, and the Debian packages that hold them.
PACKAGES = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux", "ping": "iputils-ping",
            "iperf3": "iperf3", "pasta": "passt", "slirp4netns": "slirp4netns"}
OPTIONAL = ("pasta", "slirp4netns")

# What figures of the original are about; a newer one may behave differently.
UWSGI = "2.0.31"


class Tools:
    """Paths of the programs; None = not to be had."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def to_json(self):
        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text):
        return cls(**json.loads(text))


def find(wanted):
    """Builds what is ours, and gets those of the `wanted` contenders that are not."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve()
    install(PACKAGES[tool] for tool in PACKAGES
            if not shutil.which(tool) and (tool not in OPTIONAL or tool in wanted))
    for tool in PACKAGES:
        if tool not in OPTIONAL and not shutil.which(tool):
            sys.exit(f"{tool} is missing; on Debian: apt-get install {PACKAGES[tool]}")
    given = os.environ.get("MINI_EMPEROR")
    cargo = ["cargo", "build", "--quiet", "--release"]
    subprocess.run([*cargo, "--examples", *([] if given else ["--bin", "mini-emperor"])], check=True)
    release = target / "release"
    return Tools(target=str(target), emperor=given or str(release / "mini-emperor"),
                 loads=str(release / "examples/loads"), relay=str(release / "examples/relay"),
                 uwsgi=uwsgi(target / "peers") if "uwsgi" in wanted else None,
                 **{tool: shutil.which(tool) if tool in wanted else None for tool in OPTIONAL})


def install(packages):
    """On a Debian-like system; elsewhere what is missing is skipped, or named."""
    missing = sorted(set(packages))
    if missing and shutil.which("apt-get"):
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        for words in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", *words], env=environment, stdout=subprocess.DEVNULL, check=False)


def uwsgi(directory):
    """Built once from its published source, with no plugin but the TunTap router."""
    binary = directory / f"uwsgi-{UWSGI}" / "uwsgi"
    if binary.exists():
        return str(binary)
    print(f"building uWSGI {UWSGI}", file=sys.stderr, flush=True)
    directory.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True).returncode != 0:
        install(["python3-pip"])
    try:
        subprocess.run([*pip, "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--no-binary", ":all:", "--dest", directory, f"uwsgi=={UWSGI}"], check=True)
        subprocess.run(["tar", "xzf", f"uwsgi-{UWSGI}.tar.gz"], cwd=directory, check=True)
        with open(directory / "build.log", "w") as log:
            subprocess.run([sys.executable, "uwsgiconfig.py", "--build", "core"], cwd=binary.parent, stdout=log,
                           stderr=log, env=dict(os.environ, UWSGI_EMBED_PLUGINS="tuntap"), check=True)
    except (subprocess.CalledProcessError, OSError) as problem:
        print(f"# SKIP uwsgi: it cannot be built: {problem}", file=sys.stderr)
        return None
    return str(binary)


def versions(tools):
    """What took part, by name."""
    def version(*command):
        try:
            # pasta also speaks to the system's log, and complains on standard error if there is none.
            said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        except OSError:
            return None
        # "iperf 3.12 (cJSON 1.7.15)": the first number with a point in the first line.
        found = re.search(r"\d+\.\d\S*", said.partition("\n")[0])
        return found and found[0]

    def of_package(name):
        return version("dpkg-query", "-W", "-f", "${Version}", name)

    return {name: number for name, number in {
        "mini-emperor": version(tools.emperor, "--version"),
        "uwsgi": tools.uwsgi and version(tools.uwsgi, "--version"),
        # Debian's build of pasta does not know its version.
        "pasta": tools.pasta and (of_package("passt") or version("pasta", "--version")),
        "slirp4netns": tools.slirp4netns and version("slirp4netns", "--version"),
        "iperf3": version("iperf3", "--version"),
    }.items() if number}


def machine():
    """What everything ran on; without a name, an address or a date."""
    lines = read("/proc/cpuinfo", "").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = int(read("/proc/meminfo", "MemTotal: 0").split()[1]) / 2**20
    return {"processor": models[0] if models else os.uname().machine, "cores": os.cpu_count(),
            "memory_gib": round(memory), "kernel": f"{os.uname().sysname} {os.uname().release}",
            "congestion": CONGESTION}
