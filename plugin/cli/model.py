"""``sgmri model``: list, show, verify, fetch and export models; nothing here loads a tensor but ``export``."""

import argparse
import json
import math
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import ConfigError, EngineError, EngineUnavailable
from worker.engine.bundle import Bundle, find_bundles, load, verify

BASE_MODEL = "Qwen/Qwen3-VL-8B-Instruct"
"""The stock model; what to fall back to where a fine-tune was published without its weights."""
EXPECTED_8B_PARAMETERS = 8_770_000_000
"""Vision tower and language model of Qwen3-VL-8B together."""
TOLERANCE = 0.02

_ALLOWED = ("*.safetensors", "*.json", "*.txt", "*.jinja")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CLAIMS_8B = re.compile(r"(?<![0-9.])8b(?![a-z0-9])", re.IGNORECASE)
_JSON_LIMIT_BYTES = 100_000_000  # the limit that safetensors itself sets for a header
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
}
_EXTRA = "pip install 'sgmri[{}]'"
_EVIDENCE = {
    "calibration.json": "calibrated",
    "golden.npz": "golden cases",
    "eval.json": "evaluated",
}


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand and its five actions."""
    parser = commands.add_parser("model", help="list, show, verify, fetch or export models")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    action = actions.add_parser("list", help="list the bundles of a directory (names and sizes, not hashes)")
    action.add_argument("--models", type=Path, action="append", metavar="DIR", help="repeatable; default: models")
    action.add_argument("--json", action="store_true", help="for machines")
    action.set_defaults(run=run_list)

    action = actions.add_parser("info", help="verify a bundle and show what it is")
    action.add_argument("bundle", type=Path)
    action.set_defaults(run=run_info)

    action = actions.add_parser("verify", help="compare every file of a bundle with its sha256")
    action.add_argument("bundle", type=Path)
    action.add_argument("--digest", help="the bundle's digest that you trust (64 hexadecimal digits)")
    action.set_defaults(run=run_verify)

    action = actions.add_parser("pull", help="fetch published weights from the Hugging Face Hub")
    action.add_argument("repository", metavar="REPO", help=f"such as {BASE_MODEL}")
    action.add_argument("--revision", metavar="COMMIT", help="commit, 40 hexadecimal digits; a branch can move")
    action.add_argument("--out", type=Path, required=True, help="new directory for the checkpoint")
    action.set_defaults(run=run_pull)

    action = actions.add_parser("export", help="write the vision encoder of a checkpoint as ONNX, and compare both")
    action.add_argument("checkpoint", type=Path)
    action.add_argument("--out", type=Path, required=True, metavar="FILE")
    action.add_argument("--precision", choices=["fp32", "fp16"], default="fp16")
    action.set_defaults(run=run_export)


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
    bundle = load(arguments.bundle)
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
    for check in verify(arguments.bundle, expect_digest=arguments.digest):
        bad += check.problem is not None
        print(f"{'ok ' if check.problem is None else 'BAD'} {check.shown_name}", end="")
        print("" if check.problem is None else f": {check.problem}", flush=True)
    if bad:
        print(f"sgmri: {bad} files are not as sealed; this bundle will not load", file=sys.stderr)
    return int(bad > 0)


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


def check_size(repository: str, directory: Path) -> int:
    """Count the parameters of a checkpoint and refuse one that is not of the size its name claims.

    Raises
    ------
    EngineError
        If it is incomplete, empty, or claims 8B and is more than 2 % off.
    """
    advice = f"; delete {directory}, and use the base model {BASE_MODEL} instead"
    if not (directory / "config.json").is_file():
        raise EngineError(f"{repository}: expected config.json, found none{advice}")
    try:
        count = count_parameters(directory)
    except EngineError as error:
        raise EngineError(f"{repository}: {error}{advice}") from None
    if _CLAIMS_8B.search(repository) and abs(count / EXPECTED_8B_PARAMETERS - 1) > TOLERANCE:
        raise EngineError(
            f"{repository}: expected about {EXPECTED_8B_PARAMETERS / 1e9:.2f} billion parameters as its name claims, "
            f"found {count:,}{advice}"
        )
    return count


def count_parameters(directory: Path) -> int:
    """Count the parameters of a checkpoint from the headers of its safetensors, without loading a tensor.

    Parameters
    ----------
    directory
        Holds ``model.safetensors.index.json`` and its shards, or safetensors without an index.

    Raises
    ------
    EngineError
        If there are none, a shard is missing, cut short or empty, or a tensor is not where the index says.
    """
    index = directory / "model.safetensors.index.json"
    promised = _weight_map(index) if index.is_file() else {}
    names = sorted(set(promised.values())) or sorted(path.name for path in directory.glob("*.safetensors"))
    if not names:
        raise EngineError("expected weights as *.safetensors, found none")
    shapes = {name: _shapes(directory / name) for name in names}
    for tensor, name in promised.items():
        if tensor not in shapes[name]:
            raise EngineError(f"{name}: expected the tensor that the index promises, found others; fetch both again")
    tensors = [tensor for shard in shapes.values() for tensor in shard]
    if len(set(tensors)) != len(tensors):
        raise EngineError("expected each tensor in one shard, found one twice; remove the shards of another checkpoint")
    return sum(math.prod(shape) for shard in shapes.values() for shape in shard.values())


def _weight_map(index: Path) -> dict[str, str]:
    if index.stat().st_size > _JSON_LIMIT_BYTES:
        raise EngineError(f"{index.name}: expected at most {_JSON_LIMIT_BYTES:,} bytes, found more")
    document = _json_object(index.name, index.read_bytes())
    found = document.get("weight_map")
    if not isinstance(found, dict) or not found:
        raise EngineError(f"{index.name}: expected a weight_map, found none; fetch it again")
    for name in found.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise EngineError(f"{index.name}: expected plain names of safetensors, found something else")
    return found


def _shapes(path: Path) -> dict[str, list[int]]:
    """Read the shape of every tensor of a safetensors file, and check that its bytes are there."""
    if not path.is_file():
        raise EngineError(f"{path.name}: expected this shard, found none; fetch it again")
    size_bytes = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size_bytes < 8 or length > min(_JSON_LIMIT_BYTES, size_bytes - 8):
            raise EngineError(f"{path.name}: expected a safetensors header, found none; fetch the file again")
        header = _json_object(path.name, stream.read(length))
    header.pop("__metadata__", None)
    if not header:
        raise EngineError(f"{path.name}: expected tensors, found an empty shard; its authors must save it again")
    shapes = {tensor: _shape(path.name, entry) for tensor, entry in header.items()}
    end = max(entry["data_offsets"][1] for entry in header.values())
    if 8 + length + end != size_bytes:
        raise EngineError(f"{path.name}: expected {8 + length + end} bytes, found {size_bytes}; fetch the file again")
    return shapes


def _shape(name: str, entry: Mapping[str, Any]) -> list[int]:
    try:
        shape, (begin, end), bits = list(entry["shape"]), entry["data_offsets"], _BITS[entry["dtype"]]
        is_sound = all(type(value) is int and value >= 0 for value in (*shape, begin, end))
        is_sound = is_sound and (end - begin) * 8 == math.prod(shape) * bits
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise EngineError(f"{name}: expected tensors with type, shape and place, found another entry; fetch it again")
    if not math.prod(shape):
        raise EngineError(
            f"{name}: expected weights, found a tensor without elements, as a training run leaves that saved its "
            "sharded state (ZeRO-3) without gathering it; its authors must save it again"
        )
    return shape


def _json_object(name: str, text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise EngineError(f"{name}: expected a JSON object, found something else; fetch the file again")
    return document


def run_export(arguments: argparse.Namespace) -> int:
    """Export, print the comparison with the original; 1 if they differ too much."""
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
