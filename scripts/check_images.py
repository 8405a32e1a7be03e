"""Build the Dockerfile's stages in directories of their own, without a container engine, and run what comes of them.

    scripts/check-images [--target listener] [--build-arg NAME=VALUE] [--bind PATH]

Base images are a Debian of debootstrap's with python3 (--base), for there is no registry; everything after FROM is
done as it is written: RUN in a chroot with mount and process namespaces, COPY from the context by .dockerignore's
rules and from other stages. The image is then run as compose.yaml has it: its user, a read-only root, tmpfs, no
capabilities, no new privileges. Needs root. Not seen here: layers, the registry's Python, the base images' own entry
points.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_DEBIAN = ["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm"]
_KNOWN = {
    "FROM",
    "ARG",
    "ENV",
    "RUN",
    "COPY",
    "USER",
    "WORKDIR",
    "VOLUME",
    "EXPOSE",
    "HEALTHCHECK",
    "ENTRYPOINT",
    "CMD",
}
_CONFIG = '[listener]\nhost = "127.0.0.1"\nport = 0\nmin_free_bytes = 1\n[worker]\nengine = "classical"\n'


@dataclass(kw_only=True)
class Stage:
    """A stage of the Dockerfile and, once it is built, its root directory."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)
    root: Path | None = None
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
    user: str = "0:0"
    workdir: str = "/"
    said: dict[str, list[str]] = field(default_factory=dict)


def parse(text: str, build_args: dict[str, str]) -> dict[str, Stage]:
    """Return the stages by name."""
    lines = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    known: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for line in filter(None, map(str.strip, lines.splitlines())):
        word, _, rest = line.partition(" ")
        if word not in _KNOWN:
            raise SystemExit(f"expected an instruction that this script knows, found {word}")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = stages[name] = Stage(name=name, base=expand(base, known))
        elif word == "ARG" and stage is None:
            name, _, default = rest.partition("=")
            known[name] = build_args.get(name, default)
        elif stage is not None:
            stage.steps.append((word, rest.strip()))
    return stages


def expand(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda found: values.get(found[1], found[0]), text)


class Builder:
    """Builds stages below a directory.

    Parameters
    ----------
    stages, build_args, binds
        The Dockerfile's; and what of this machine a build step sees besides (its package index).
    work, base
        Where to; and the directory that stands for the base images.
    """

    def __init__(
        self, stages: dict[str, Stage], build_args: dict[str, str], binds: list[Path], *, work: Path, base: Path
    ) -> None:
        self._stages, self._build_args, self._binds = stages, build_args, binds
        self._work, self._base = work, base

    def build(self, name: str) -> Stage:
        """Return a stage, built with everything that it needs."""
        stage = self._stages[name]
        if stage.root is not None:
            return stage
        root = self._work / name
        if stage.base in self._stages:
            under = self.build(stage.base)
            stage.env, stage.user, stage.workdir = dict(under.env), under.user, under.workdir
            stage.said = dict(under.said)
            copy(under.root or self._base, root)
        else:
            copy(self._base, root)
        stage.root = root
        for word, rest in stage.steps:
            print(f"{name}: {word} {rest[:90]}", flush=True)
            self._step(stage, root, word, rest)
        return stage

    def _step(self, stage: Stage, root: Path, word: str, rest: str) -> None:
        if word == "ARG":
            name, _, default = rest.partition("=")
            stage.env[name] = self._build_args.get(name, default)
        elif word == "ENV":
            for setting in shlex.split(rest):
                name, _, value = setting.partition("=")
                stage.env[name] = expand(value, stage.env)
        elif word == "RUN":
            mounts = "".join(f"mount --rbind {path} {mount_point(root, path)} && " for path in self._binds)
            command = shlex.quote(f"cd {stage.workdir} && {rest}")
            enter = f"exec /usr/sbin/chroot --userspec={stage.user} {root} /bin/sh -c {command}"
            shell(f"mount -t proc proc {root}/proc && {mounts}{enter}", {**pip_settings(), **stage.env})
        elif word == "COPY":
            self._copy(stage, root, rest.split())
        elif word == "USER":
            stage.user = rest
        elif word == "WORKDIR":
            stage.workdir = rest
            (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "HEALTHCHECK":
            stage.said[word] = json.loads(rest.partition("CMD ")[2])
        elif word in ("ENTRYPOINT", "CMD"):
            stage.said[word] = json.loads(rest)

    def _copy(self, stage: Stage, root: Path, words: list[str]) -> None:
        target = root / words[-1].lstrip("/") if words[-1].startswith("/") else root / stage.workdir.lstrip("/")
        if words[0].startswith("--from="):
            copy((self.build(words[0].removeprefix("--from=")).root or root) / words[1].lstrip("/"), target)
            return
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
            if line.startswith("!"):  # the file begins with "*": nothing but these
                copy(ROOT / line[1:], target / line[1:])
        for cache in target.rglob("__pycache__"):
            shutil.rmtree(cache)


def mount_point(root: Path, path: Path) -> Path:
    """Return where a path of this machine is mounted below a root, made as a file or directory like it."""
    there = root / str(path).lstrip("/")
    there.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        there.mkdir(exist_ok=True)
    elif not there.exists():
        there.touch()
    return there


def pip_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)


def shell(command: str, env: dict[str, str]) -> None:
    """Run a command in mount and process namespaces of its own."""
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "sh", "-ec", command], env=env, check=False)
    if done.returncode:
        raise SystemExit(f"a step ended with {done.returncode}")


def contained(stage: Stage, command: str) -> list[str]:
    """Return what runs a shell command in an image as compose.yaml has it."""
    uid, _, gid = stage.user.partition(":")
    drop = f"setpriv --reuid {uid} --regid {gid} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs"
    mounts = [
        f"mount --rbind {stage.root} {stage.root}",
        f"mount -t proc proc {stage.root}/proc",
        f"mount -o remount,bind,ro {stage.root}",
        f"mount -t tmpfs -o mode=1777,size=256m tmpfs {stage.root}/tmp",
        f"mount -t tmpfs -o mode=0700,uid={uid},gid={gid} tmpfs {stage.root}/var/lib/sgmri",
        f"exec /usr/sbin/chroot {stage.root} {drop} sh -c {shlex.quote(command)}",
    ]
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", " && ".join(mounts)]


def examine(stage: Stage) -> None:
    """Run the image's command until it is healthy and end it; where that needs a broker, ask its health check alone.

    Nothing may be written meanwhile but to tmpfs.
    """
    root = stage.root or Path()
    said = stage.said["ENTRYPOINT"] + stage.said["CMD"]
    (root / "etc/sgmri").mkdir(exist_ok=True)
    (root / "etc/sgmri/sgmri.toml").write_text(_CONFIG, encoding="utf-8")
    health = shlex.join(stage.said["HEALTHCHECK"])
    serves = "worker" not in said
    command = f"touch /etc/written 2>/dev/null && exit 9; touch /opt/sgmri/written 2>/dev/null && exit 9; {health}"
    if serves:
        # 143: uvicorn ends in order, and then by the signal that it was sent
        ended = "{ wait $child || [ $? -eq 143 ]; }"
        wait = f"for i in $(seq 60); do {health} >/dev/null 2>&1 && break; sleep 1; done"
        command = f"{shlex.join(said)} & child=$!; {wait}; {command} && kill -TERM $child && {ended}"
    began = time.monotonic()
    done = subprocess.run(contained(stage, f"cd {stage.workdir}; {command}"), env=stage.env, check=False, timeout=600)
    if done.returncode:
        raise SystemExit(f"{stage.name}: expected it to be healthy and end in order, found exit code {done.returncode}")
    sizes = subprocess.run(["du", "-sm", str(root / "opt/sgmri")], capture_output=True, check=True).stdout
    what = "serves, is healthy and ends in order at SIGTERM" if serves else "its health check passes"
    took_s = time.monotonic() - began
    print(f"{stage.name}: as {stage.user}, root read-only, no capabilities: {what} ({took_s:.0f} s)")
    print(f"{stage.name}: /opt/sgmri has {int(sizes.split()[0])} MB", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", action="append", help="stages to build and run (default: listener)")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--bind", action="append", default=[], type=Path, help="seen by build steps, for the package index"
    )
    parser.add_argument("--base", type=Path, help="a directory of debootstrap's to start from (default: a new one)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("the build in a chroot needs root; left out", file=sys.stderr)
        return 3
    build_args = dict(one.split("=", 1) for one in options.build_arg)
    binds = [*options.bind, Path("/etc/resolv.conf"), Path("/etc/hosts")]
    with tempfile.TemporaryDirectory(prefix="sgmri-images-") as name:
        base = options.base or Path(name) / "base"
        if options.base is None:
            subprocess.run([*_DEBIAN, str(base)], check=True, stdout=subprocess.DEVNULL)
        stages = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"), build_args)
        builder = Builder(stages, build_args, binds, work=Path(name), base=base)
        for target in options.target or ["listener"]:
            examine(builder.build(target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
