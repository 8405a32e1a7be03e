"""The rule tester, with files as a browser sends them."""

from pathlib import Path

from plugin.dashboard.access import Role
from tests.plugin.dashboard.conftest import Board


def upload(board: Board, paths: tuple[Path, ...], rules: str = "", names: str = "") -> tuple[int, str]:
    files = [("files", (names or path.name, path.read_bytes())) for path in paths]
    answer = board.client(Role.OPERATOR).post("/rules", files=files, data={"rules": rules})
    return answer.status_code, answer.text


def test_rules_are_tried_on_files_that_are_then_deleted(board: Board, brain: tuple[Path, ...]) -> None:
    """The built-in rule takes the series, a rule of the form leaves it, and nothing lies on the disk afterwards."""
    status, text = upload(board, brain, names="../../../../tmp/evil.dcm")
    assert status == 200 and "1 of 1 series would be read" in text and "Taken as brain" in text
    status, text = upload(board, brain, "[[rule]]\nname = '<i>no'\nwhen = 'anatomy == \"brain\"'\nleave = true\n")
    assert "0 of 1 series would be read" in text and "&lt;i&gt;no" in text and "<i>no" not in text
    assert list((Path(board.settings.storage.state_dir) / "rule-tests").iterdir()) == []
    assert board.journal.all_series() == ()
    assert board.audited[-1].detail == "rule test" and board.audited[-1].count == len(brain)


def test_what_cannot_be_tried_is_said(board: Board, brain: tuple[Path, ...], tmp_path: Path) -> None:
    """Wrong rules, a file that is no DICOM, no file, too many and too large ones: each is refused in words."""
    status, text = upload(board, brain, "[[rule]]\nname = 'x'\nwhen = 'frame > 3'\nleave = true\n")
    assert status == 200 and "did you mean" in text and str(tmp_path) not in text
    stray = tmp_path / "notes.txt"
    stray.write_text("no DICOM")
    assert "File 1 is left" in upload(board, (stray,))[1]
    assert upload(board, ())[0] == 422
    assert upload(board, (stray,) * 31)[0] == 400
    stray.write_bytes(bytes(9 << 20))
    assert upload(board, (stray,))[0] == 413
