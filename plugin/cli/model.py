"""``sgmri model``: list, show, verify, fetch, export, time and examine models."""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from plugin.checkpoints import BASE_MODEL, check_size
from plugin.cli.model_bundle import export_bundle
from plugin.cli.model_exam import run_bench, run_evaluate
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import ConfigError, EngineUnavailable
from sgmri.settings import DEVICES
from worker.engine.bundle import Bundle, find_bundles, load, verify
from worker.engines import chosen_device

_ALLOWED = ("*.safetensors", "*.json", "*.txt", "*.jinja")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_EXTRA = "pip install 'sgmri[{}]'"
_EVIDENCE = {
    "calibration.json": "calibrated",
    "golden.npz": "golden cases",
    "eval.json": "evaluated",
}


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand and its actions."""
    parser = commands.add_parser("model", help="list, show, verify, fetch, export, time or examine models")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    action = actions.add_parser("list", help="list the bundles of a directory (names and sizes, not hashes)")
    action.add_argument("--models", type=Path, action="append", metavar="DIR", help="repeatable; default: models")
    action.add_argument("--json", action="store_true", help="for machines")
    action.set_defaults(run=run_list)

    action = actions.add_parser("info", help="verify a bundle and show what it is")
    _add_bundle(action)
    action.set_defaults(run=run_info)

    action = actions.add_parser("verify", help="compare every file with its sha256, then replay the golden cases")
    _add_bundle(action)
    action.add_argument("--digest", help="the bundle's digest that you trust (64 hexadecimal digits)")
    action.add_argument("--files-only", action="store_true", help="load nothing: leave the golden cases out")
    action.add_argument("--device", choices=DEVICES, default="auto")
    action.set_defaults(run=run_verify)

    _add_makers(actions)
    _add_exams(actions)


def _add_makers(actions: "argparse._SubParsersAction[Any]") -> None:
    """Add what fetches and makes models."""
    action = actions.add_parser("pull", help="fetch published weights from the Hugging Face Hub")
    action.add_argument("repository", metavar="REPO", help=f"such as {BASE_MODEL}")
    action.add_argument("--revision", metavar="COMMIT", help="commit, 40 hexadecimal digits; a branch can move")
    action.add_argument("--out", type=Path, required=True, help="new directory for the checkpoint")
    action.set_defaults(run=run_pull)

    action = actions.add_parser("export", help="make the ONNX encoder, or the whole bundle, of a checkpoint")
    action.add_argument("checkpoint", type=Path)
    target = action.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FILE", help="write the encoder alone")
    target.add_argument("--bundle", type=Path, metavar="DIR", help="make a sealed bundle in a new directory")
    action.add_argument("--precision", choices=["fp32", "fp16"], default="fp16")
    action.add_argument("--profile", default="qwen3-vl", help="of a bundle: what its weights were trained on")
    action.add_argument(
        "--free-text", action="store_true", help="of a bundle: its weights answer questions in anybody's words"
    )
    action.add_argument("--licence", default="see the checkpoint's own", help="of a bundle: the weights' licence")
    action.add_argument("--device", choices=DEVICES, default="auto", help="where a bundle's golden cases are read")
    action.set_defaults(run=run_export)


def _add_exams(actions: "argparse._SubParsersAction[Any]") -> None:
    """Add what times and examines models."""
    action = actions.add_parser("bench", help="how long a phantom takes to read on this machine, and how much memory")
    _add_bundle(action)
    action.add_argument("--rounds", type=int, default=3)
    action.add_argument("--device", choices=DEVICES, default="auto")
    action.add_argument("--json", action="store_true", help="for machines")
    action.set_defaults(run=run_bench)

    action = actions.add_parser("evaluate", help="examine a model on synthetic volumes that it was never trained on")
    _add_bundle(action)
    action.add_argument("--engine", choices=["grounded", "classical"], default="grounded")
    action.add_argument("--volumes", type=int, default=200, help="half of them normal, two thirds heads")
    action.add_argument("--strangers", type=int, default=24, help="volumes that are no head and no knee, of each sort")
    action.add_argument("--seed", type=int, default=0, help="another examination")
    action.add_argument("--real", type=Path, metavar="DIR", help="real FLAIR: a folder with volumes/ms_ljubljana_long")
    action.add_argument("--device", choices=DEVICES, default="auto")
    action.add_argument("--json", type=Path, metavar="FILE", help="write the scores for machines too")
    action.set_defaults(run=run_evaluate)


def _add_bundle(action: argparse.ArgumentParser) -> None:
    action.add_argument("bundle", type=Path, nargs="?", help="directory of a bundle; default: the embedded model")


def _bundle(arguments: argparse.Namespace) -> Path:
    """Return the bundle that was named, or the embedded one."""
    from worker.engine.places import embedded_bundle

    directory: Path = arguments.bundle if arguments.bundle is not None else embedded_bundle()
    return directory


def run_list(arguments: argparse.Namespace) -> int:
    """Print what lies there, verified or not."""
    found = find_bundles(arguments.models or [Path("models")])
    if arguments.json:
        print(json.dumps([_mapping(item.directory, item.claim, item.problem) for item in found], indent=2))
        return 0
    for item in found:
        name = "?" if item.claim is None else f"{item.claim.manifest.model_id} {item.claim.manifest.version}"
        what = "" if item.claim is None else f"  {item.claim.digest[:12]}  {_size(item.claim.size_bytes)}"
        print(f"{name}{what}  {item.directory}{'' if item.problem is None else f'  BAD: {item.problem}'}")
    if not found:
        print("no bundles")
    return 0


def run_info(arguments: argparse.Namespace) -> int:
    """Print what a bundle is, once it has verified."""
    bundle = load(_bundle(arguments))
    manifest = bundle.manifest
    print(f"{manifest.model_id} {manifest.version} ({manifest.kind}), licence {manifest.licence}")
    print(f"digest         {bundle.digest}")
    print(f"size           {_size(bundle.size_bytes)} in {len(bundle.files)} files, all verified")
    print(f"profile        {manifest.profile_name}: {json.dumps(dict(manifest.profile), sort_keys=True)}")
    print(f"question sets  {', '.join(manifest.question_set_ids)}")
    print(f"labels         {', '.join(manifest.labels)}")
    print(f"made with      {', '.join(f'{name} {version}' for name, version in sorted(manifest.versions.items()))}")
    for name, meaning in _EVIDENCE.items():
        print(f"{meaning:14} {'yes' if name in bundle.files else 'no'} ({name})")
    print(f"intended use   {manifest.intended_use}")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Print each file with ok or BAD; 1 if one is bad."""
    bad = 0
    directory = _bundle(arguments)
    for check in verify(directory, expect_digest=arguments.digest):
        bad += check.problem is not None
        print(f"{'ok ' if check.problem is None else 'BAD'} {check.shown_name}", end="")
        print("" if check.problem is None else f": {check.problem}", flush=True)
    if bad:
        print(f"sgmri: {bad} files are not as sealed; this bundle will not load", file=sys.stderr)
        return 1
    return 0 if arguments.files_only else _replay(directory, arguments)


def _replay(directory: Path, arguments: argparse.Namespace) -> int:
    """Read the golden cases anew, and print what differs."""
    try:
        from worker.engine.loading import golden_problems, load_engine  # torch: seconds, and only here
        from worker.engine.local import Device
    except ImportError as error:
        print(f"--  golden cases: not replayed, no {error.name} here; {_EXTRA.format('worker-cpu')}")
        return 0
    bundle = load(directory, expect_digest=arguments.digest)
    if "golden.npz" not in bundle.files:
        print("--  golden cases: the bundle has none")
        return 0
    engine, speaker = load_engine(bundle, Device(name=chosen_device(arguments.device)))
    problems = golden_problems(bundle, engine, speaker)
    engine.close()
    for problem in problems:
        print(f"BAD golden {problem}")
    if problems:
        print("sgmri: this machine reads otherwise than sealed; a worker here takes no work", file=sys.stderr)
        return 1
    print("ok  golden cases: read as sealed")
    return 0


def run_pull(arguments: argparse.Namespace) -> int:
    """Fetch a checkpoint; it comes to lie at ``--out`` only once its parameters were counted."""
    repository, out = arguments.repository, arguments.out.resolve()
    if _REPOSITORY.fullmatch(repository) is None:
        raise ConfigError(f"REPO: expected OWNER/NAME such as {BASE_MODEL}, found {repository!r}")
    if _COMMIT.fullmatch(arguments.revision or "") is None:
        raise ConfigError(
            f"--revision: expected a commit of 40 hexadecimal digits, found {arguments.revision!r}; a branch or tag "
            "can move, so copy the commit from the repository's history"
        )
    if out.exists():
        raise ConfigError(f"--out: expected a directory that does not exist yet, found {out}; choose another")
    # The same name for the same commit, so that an interrupted download goes on where it stopped
    partial = out.with_name(f"{out.name}.{arguments.revision[:12]}.partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    _download(repository, arguments.revision, partial)
    count = check_size(repository, partial)
    shutil.rmtree(partial / ".cache", ignore_errors=True)  # the Hub client's notes about the download
    partial.rename(out)
    print(f"{repository}@{arguments.revision[:12]}: {count:,} parameters in {out}")
    print(f"This is a checkpoint, not yet a bundle. {RESEARCH_USE_STATEMENT}")
    return 0


def _download(repository: str, revision: str, directory: Path) -> None:
    try:
        from huggingface_hub import errors, snapshot_download, utils  # slow, and only needed here
    except ImportError:
        raise ConfigError(f"expected huggingface_hub, found none; {_EXTRA.format('worker-cpu')}") from None
    if not sys.stderr.isatty():
        utils.disable_progress_bars()  # type: ignore[attr-defined]  # exported, but not in __all__
    # The client changed its HTTP library, and got a download path of its own, with its versions
    bases = [base for base in errors.HfHubHTTPError.__mro__ if issubclass(base, Exception)]
    failures: tuple[type[Exception], ...] = (
        OSError,
        *(base for base in bases if base.__name__ == "HTTPError"),
        getattr(errors, "XetDownloadError", OSError),
    )
    try:
        snapshot_download(repository, revision=revision, local_dir=directory, allow_patterns=list(_ALLOWED))
    except failures as error:
        raise EngineUnavailable(
            f"expected {repository} at commit {revision[:12]} from the Hugging Face Hub, found {type(error).__name__}; "
            "check network, proxy, HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN and the spelling, then run the same command "
            "again: it goes on where it stopped"
        ) from error


def run_export(arguments: argparse.Namespace) -> int:
    """Export, print the comparison with the original; 1 if they differ too much."""
    if arguments.bundle is not None:
        return export_bundle(arguments)
    try:
        from worker.engine.export import export_encoder  # torch: seconds, and only here

        report = export_encoder(arguments.checkpoint, arguments.out, precision=arguments.precision)
    except ImportError as error:
        raise ConfigError(
            f"export: expected the model stack, found no {error.name or 'part of it'}; "
            + _EXTRA.format("worker-cpu,export")
        ) from None
    for line in report.lines():
        print(line)
    return int(not report.is_good)


def _mapping(directory: Path, claim: Bundle | None, problem: str | None) -> dict[str, object]:
    mapping: dict[str, object] = {"directory": str(directory), "problem": problem}
    if claim is not None:
        mapping |= {
            "model_id": claim.manifest.model_id,
            "version": claim.manifest.version,
            "kind": claim.manifest.kind,
            "digest": claim.digest,
            "bytes": claim.size_bytes,
        }
    return mapping


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 1e3:.1f} kB"
