"""``sgmri model`` as a user meets it: real bundles, real safetensors, a hub that answers and one that does not."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import numpy as np
import pytest
from safetensors.numpy import save_file

from plugin.checkpoints import EXPECTED_8B_PARAMETERS, check_size, count_parameters
from plugin.cli.main import main
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import EngineError
from tests.http_servers import serving
from worker.engine.bundle import Bundle, seal
from worker.engine.manifest import Manifest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
INDEX = "model.safetensors.index.json"


def zeros(*shape: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float16]]":
    return np.zeros(shape, np.float16)


@pytest.fixture
def sealed(tmp_path: Path) -> Bundle:
    directory = tmp_path / "models" / "small"
    directory.mkdir(parents=True)
    save_file({"weight": zeros(4, 4)}, directory / "model.safetensors")
    for name in ("config.json", "tokenizer.json", "encoder.onnx", "MODEL_CARD.md", "eval.json"):
        (directory / name).write_text(f"{name}\n", encoding="utf-8")
    manifest = Manifest(
        model_id="sgmri-small",
        version="1.0",
        kind="qwen3-vl",
        profile_name="native",
        profile={"coordinates": "pixel_xywh"},
        labels=("Mass",),
        question_set_ids=("brain-1",),
        intended_use=f"Tests. {RESEARCH_USE_STATEMENT}",
        licence="MIT",
        versions={"torch": "2.13.0"},
    )
    return seal(directory, manifest)


def sharded(directory: Path) -> Path:
    """Write two shards of 24 and 10 parameters, with an index."""
    directory.mkdir()
    shards = {"a.safetensors": {"x": zeros(4, 6)}, "b.safetensors": {"y": zeros(9), "scalar": zeros()}}
    for name, tensors in shards.items():
        save_file(tensors, directory / name, metadata={"format": "pt"})
    weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    (directory / INDEX).write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    return directory


def header_only(path: Path, shape: tuple[int, ...]) -> None:
    """Write safetensors of this shape as a sparse file: the bytes are there, and take no room."""
    size_bytes = 2 * int(np.prod(shape, dtype=np.int64))
    header = json.dumps({"w": {"dtype": "BF16", "shape": shape, "data_offsets": [0, size_bytes]}}).encode()
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        stream.truncate(8 + len(header) + size_bytes)


def test_a_list_shows_what_is_there(sealed: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """Name, version and digest of a bundle, and what is wrong with a broken one, for people and machines."""
    models = sealed.directory.parent
    (models / "broken").mkdir()
    (models / "broken" / "bundle.json").write_text("{}", encoding="utf-8")
    assert main(["model", "list", "--models", str(models)]) == 0
    printed = capsys.readouterr().out
    assert f"sgmri-small 1.0  {sealed.digest[:12]}" in printed
    assert "BAD: bundle.json" in printed
    assert main(["model", "list", "--models", str(models), "--json"]) == 0
    broken, good = json.loads(capsys.readouterr().out)
    assert broken["problem"]
    assert good["problem"] is None
    assert good["digest"] == sealed.digest


def test_a_list_of_nowhere_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory that does not exist is refused with exit code 2; an empty one holds no bundles."""
    assert main(["model", "list", "--models", str(tmp_path / "missing")]) == 2
    assert "missing" in capsys.readouterr().err
    assert main(["model", "list", "--models", str(tmp_path)]) == 0
    assert "no bundles" in capsys.readouterr().out


def test_info_shows_what_a_bundle_is(sealed: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """Digest, profile, research-use text, and which evidence the bundle carries and lacks."""
    assert main(["model", "info", str(sealed.directory)]) == 0
    printed = capsys.readouterr().out
    for text in (sealed.digest, "pixel_xywh", RESEARCH_USE_STATEMENT, "brain-1", "Mass"):
        assert text in printed
    lines = printed.splitlines()
    assert "evaluated      yes (eval.json)" in lines
    assert "calibrated     no (calibration.json)" in lines


def test_info_does_not_show_what_does_not_verify(sealed: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a changed bundle nothing is shown but the refusal."""
    (sealed.directory / "MODEL_CARD.md").write_text("model_card.md\n", encoding="utf-8")
    assert main(["model", "info", str(sealed.directory)]) == 1
    captured = capsys.readouterr()
    assert not captured.out
    assert "MODEL_CARD.md" in captured.err


def test_verify_says_ok_for_each_file(sealed: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """A good bundle gives exit code 0 and one "ok" for each file and the manifest."""
    assert main(["model", "verify", str(sealed.directory), "--digest", sealed.digest]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop() == "--  golden cases: the bundle has none"
    assert len(lines) == len(sealed.files) + 1
    assert all(line.startswith("ok  ") for line in lines)


def test_verify_says_bad(sealed: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed and a stray file are BAD by name, the others still ok; exit code 1."""
    (sealed.directory / "tokenizer.json").write_text("tokenizer.jsan\n", encoding="utf-8")
    (sealed.directory / "stray.txt").write_text("x", encoding="utf-8")
    assert main(["model", "verify", str(sealed.directory)]) == 1
    captured = capsys.readouterr()
    bad = [line for line in captured.out.splitlines() if line.startswith("BAD")]
    assert [line.split()[1] for line in bad] == ["stray.txt:", "tokenizer.json:"]
    assert "ok  model.safetensors" in captured.out
    assert "2 files" in captured.err


def test_verify_with_another_digest_fails(sealed: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle that is whole, but not the trusted one, gives exit code 1."""
    assert main(["model", "verify", str(sealed.directory), "--digest", "f" * 64]) == 1
    assert "digest" in capsys.readouterr().err


def test_parameters_are_counted_without_an_index(tmp_path: Path) -> None:
    """Every safetensors file of the directory counts; a scalar is one parameter."""
    save_file({"a": zeros(2, 3, 4), "b": zeros()}, tmp_path / "model.safetensors")
    assert count_parameters(tmp_path) == 25


def test_parameters_are_counted_over_shards(tmp_path: Path) -> None:
    """The shards of the index count, and no other file."""
    directory = sharded(tmp_path / "model")
    save_file({"z": zeros(100)}, directory / "unrelated.safetensors")
    assert count_parameters(directory) == 34


def test_an_empty_shard_is_refused(tmp_path: Path) -> None:
    """A shard without tensors is refused by name, with or without an index."""
    directory = sharded(tmp_path / "model")
    save_file({}, directory / "b.safetensors")
    with pytest.raises(EngineError, match=r"b\.safetensors"):
        count_parameters(directory)
    (directory / INDEX).unlink()
    with pytest.raises(EngineError, match=r"b\.safetensors: .*empty shard"):
        count_parameters(directory)


def test_tensors_without_elements_are_refused(tmp_path: Path) -> None:
    """What a ZeRO-3 run saves without gathering, tensors of shape [0], is recognised and named."""
    save_file({"a": zeros(3), "b": zeros(0)}, tmp_path / "model.safetensors")
    with pytest.raises(EngineError, match="ZeRO-3"):
        count_parameters(tmp_path)


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    """A shard that the index names must be there."""
    directory = sharded(tmp_path / "model")
    (directory / "a.safetensors").unlink()
    with pytest.raises(EngineError, match=r"a\.safetensors"):
        count_parameters(directory)


def test_shards_of_another_checkpoint_are_refused(tmp_path: Path) -> None:
    """A shard without the tensor that the index promises, and a tensor in two shards, are refused."""
    directory = sharded(tmp_path / "model")
    save_file({"y": zeros(9)}, directory / "b.safetensors")
    with pytest.raises(EngineError, match="promises"):
        count_parameters(directory)
    (directory / INDEX).unlink()
    save_file({"y": zeros(9)}, directory / "a.safetensors")
    with pytest.raises(EngineError, match="twice"):
        count_parameters(directory)


def test_an_index_that_leaves_the_directory_is_refused(tmp_path: Path) -> None:
    """A path in the index is not followed."""
    save_file({"a": zeros(3)}, tmp_path / "outside.safetensors")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / INDEX).write_text('{"weight_map": {"a": "../outside.safetensors"}}', encoding="utf-8")
    with pytest.raises(EngineError, match="plain names"):
        count_parameters(tmp_path / "model")


def _tensor(shape: list[object], begin: int, end: int, dtype: str = "F16") -> bytes:
    return json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        struct.pack("<Q", 1 << 40) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 3) + b"{]}",
        *(
            struct.pack("<Q", len(header)) + header + bytes(6)
            for header in (
                _tensor([3], 0, 4),
                _tensor([-3], 0, 6),
                _tensor([1.5, 2], 0, 6),
                _tensor([3], 0, 6, "Q4"),
                _tensor([30], 0, 60),
                b'{"a": 5}',
                b'{"a": {"dtype": "F16", "shape": [3]}}',
            )
        ),
    ],
)
def test_what_is_no_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file cut short, a monstrous header, wrong offsets, shapes and types are refused, never counted."""
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(EngineError, match=r"model\.safetensors: expected"):
        count_parameters(tmp_path)


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    """No safetensors is an error, not zero parameters."""
    with pytest.raises(EngineError, match="found none"):
        count_parameters(tmp_path)


@pytest.mark.parametrize(("share", "fits"), [(1.0, True), (0.985, True), (0.97, False), (1.03, False), (0.0001, False)])
def test_a_claim_of_8b_is_checked(tmp_path: Path, share: float, fits: bool) -> None:
    """About 8.77 billion parameters, 2 % off at most, or the base model is offered instead (sparse files)."""
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    rows = round(EXPECTED_8B_PARAMETERS * share / 1000)
    header_only(tmp_path / "model.safetensors", (rows, 1000))
    if fits:
        assert check_size("owner/Qwen3-8B-SFT", tmp_path) == rows * 1000
    else:
        with pytest.raises(EngineError, match="Qwen/Qwen3-VL-8B-Instruct"):
            check_size("owner/Qwen3-8B-SFT", tmp_path)
    for name in ("owner/tiny", "owner/model-1.8B", "owner/v8beta"):
        assert check_size(name, tmp_path) == rows * 1000


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a download of small files needs: tree, revision, and the files themselves."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_HEAD(self) -> None:
        self._answer(send=False)

    def do_GET(self) -> None:
        self._answer(send=True)

    def _answer(self, *, send: bool) -> None:
        path = urlsplit(self.path).path
        name = path.rpartition("/")[2]
        content = self.files.get(name) if f"/resolve/{COMMIT}/" in path else None
        if path.endswith(f"/tree/{COMMIT}"):
            content = json.dumps(
                [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in self.files.items()]
            ).encode()
        elif path.endswith(f"/revision/{COMMIT}"):
            siblings = [{"rfilename": n} for n in self.files]
            content = json.dumps({"id": "owner/model", "sha": COMMIT, "siblings": siblings}).encode()
        self.send_response(404 if content is None else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{name}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if send and content:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    with serving(Hub) as url:
        yield url


def pull(tmp_path: Path, repository: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run ``sgmri model pull`` in a process of its own: the Hub client reads its environment when imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    command = [sys.executable, "-m", "plugin.cli", "model", "pull", repository]
    return subprocess.run(
        [*command, "--revision", COMMIT, "--out", str(tmp_path / "out")],
        env={**kept, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", **environment},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"HF_HUB_OFFLINE": "1"},
        # the client itself tries again for 25 s (scripts/test-readings)
        pytest.param({"HF_ENDPOINT": "http://127.0.0.1:9"}, marks=pytest.mark.exhaustive),
    ],
)
def test_a_hub_that_cannot_be_reached_is_said_so(tmp_path: Path, environment: dict[str, str]) -> None:
    """Offline by setting, or nobody there: exit code 1, a text that says what to check, and nothing at --out."""
    done = pull(tmp_path, "owner/model", **environment)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "check network" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_fetched(tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, JSON and texts come, counted; pickles and code stay where they are."""
    save_file({"a": zeros(3, 5)}, tmp_path / "source.safetensors")
    files = {
        "model.safetensors": (tmp_path / "source.safetensors").read_bytes(),
        "config.json": b"{}",
        "merges.txt": b"a b",
        "chat_template.jinja": b"{{ x }}",
        "pytorch_model.bin": b"pickle",
        "modeling.py": b"raise SystemExit",
    }
    monkeypatch.setattr(Hub, "files", files)
    done = pull(tmp_path, "owner/model", HF_ENDPOINT=hub)
    assert done.returncode == 0, done.stderr
    assert "15 parameters" in done.stdout
    fetched = {path.name for path in (tmp_path / "out").iterdir()}
    assert fetched == {"model.safetensors", "config.json", "merges.txt", "chat_template.jinja"}
    assert (tmp_path / "out" / "merges.txt").read_bytes() == b"a b"
    assert not list(tmp_path.glob("*.partial"))


def test_a_hollow_8b_is_not_taken(tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that claims 8B and holds 15 parameters: exit code 1, the base model is named, no --out."""
    save_file({"a": zeros(3, 5)}, tmp_path / "source.safetensors")
    files = {"model.safetensors": (tmp_path / "source.safetensors").read_bytes(), "config.json": b"{}"}
    monkeypatch.setattr(Hub, "files", files)
    done = pull(tmp_path, "owner/Qwen3-VL-8B-SFT", HF_ENDPOINT=hub)
    assert done.returncode == 1
    assert "Qwen/Qwen3-VL-8B-Instruct" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_repository_that_is_not_there_is_said_so(tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that answers 404 to everything gives exit code 1 without a traceback."""
    monkeypatch.setattr(Hub, "files", {})
    done = pull(tmp_path, "owner/model", HF_ENDPOINT=hub)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["owner/model"],
        ["owner/model", "--revision", "main"],
        ["model", "--revision", COMMIT],
        ["../etc/passwd", "--revision", COMMIT],
    ],
)
def test_pull_wants_one_commit_of_one_repository(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A branch, no revision, and what is no repository are wrong usage: exit code 2, before any connection."""
    assert main(["model", "pull", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert "expected" in capsys.readouterr().err


def test_pull_does_not_write_over_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An --out that exists is wrong usage."""
    assert main(["model", "pull", "owner/model", "--revision", COMMIT, "--out", str(tmp_path)]) == 2
    assert "does not exist yet" in capsys.readouterr().err


def test_the_command_starts_without_the_model_stack() -> None:
    """``sgmri model list`` and the help import neither torch nor the Hub client."""
    script = (
        "import sys\nfrom plugin.cli.main import main\n"
        "assert main(['model', 'list', '--models', sys.argv[1]]) == 0\n"
        "print(sorted({'torch', 'transformers', 'onnxruntime', 'huggingface_hub'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(root / "docs")], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_export_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint that is not there gives an error that says so, and no file."""
    code = main(["model", "export", str(tmp_path / "missing"), "--out", str(tmp_path / "encoder.onnx")])
    captured = capsys.readouterr()
    assert code in (1, 2)
    assert "expected" in captured.err
    assert not (tmp_path / "encoder.onnx").exists()


def test_export_without_the_model_stack_names_the_extra(tmp_path: Path) -> None:
    """Where torch is not installed the refusal says what to install: exit code 2, no traceback."""
    script = (
        "import sys\nsys.modules['torch'] = None\nfrom plugin.cli.main import main\n"
        "sys.exit(main(['model', 'export', sys.argv[1], '--out', sys.argv[1] + '/encoder.onnx']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'sgmri[worker-cpu,export]'" in done.stderr
    assert "Traceback" not in done.stderr
