"""Count the parameters of a checkpoint, and refuse one that is not what its name claims; no tensor is loaded."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sgmri.errors import EngineError

BASE_MODEL = "Qwen/Qwen3-VL-8B-Instruct"
"""The stock model; what to fall back to where a fine-tune was published without its weights."""
EXPECTED_8B_PARAMETERS = 8_770_000_000
"""Vision tower and language model of Qwen3-VL-8B together."""
TOLERANCE = 0.02

_CLAIMS_8B = re.compile(r"(?<![0-9.])8b(?![a-z0-9])", re.IGNORECASE)
_JSON_LIMIT_BYTES = 100_000_000  # the limit that safetensors itself sets for a header
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
}


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
