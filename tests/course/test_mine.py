"""The reader's own quantizer: what passed takes its place, in later kernels too, and nothing else is ever run."""

import builtins
import hmac
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlab.course import check, kept, lessons, mine
from qlab.course.expect import call, expect_equal
from qlab.course.progress import FILE_NAME, read_progress
from tests.course.test_standalone import run_cell
from tests.patience import WAIT_LIMIT_S
from tests.rooms import room

ROOT = Path(__file__).resolve().parents[2]
RIGHT = "K = 1\ndef add_one(x):\n    return x + K"
RAN = "import builtins\nbuiltins.ran_unasked = True\n"  # in a file: proof that it was run


def judge_increment(answer):
    for x in (1, 5):
        expect_equal(call(answer, x), x + 1, "the result")


def judge_two(answer):
    expect_equal(call(answer[0], 1), 2, "the result")
    expect_equal(call(answer[1], 1), 3, "the result")


def qlabs(x):
    """What stands in the place until the exercise is passed."""
    return x + 1.0


def another_kernel(monkeypatch):
    """Forget what this process knows, as a new kernel knows nothing."""
    for module, name in ((kept, "_here"), (kept, "_loaded"), (mine, "_said"), (kept, "_looked")):
        monkeypatch.setattr(module, name, {})


@pytest.fixture(autouse=True)
def place(register, monkeypatch, tmp_path):
    """The place `bump`, of exercise 99.1; a key and kernel of this test's own."""
    monkeypatch.setenv("QLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(builtins, "ran_unasked", False, raising=False)
    another_kernel(monkeypatch)
    return register(judge_increment, place="bump", otherwise=qlabs)


@pytest.fixture
def file(progress_file):
    """Where `bump` is kept."""
    return progress_file.parent / ".qlab-mine-progress" / "bump.py"


def passed(source=RIGHT, name="add_one"):
    return check("99.1", run_cell(source)[name])


def line(capsys):
    """What reading mine.bump prints, and the function."""
    capsys.readouterr()
    function = mine.bump
    return capsys.readouterr().out.strip(), function


def test_until_its_exercise_is_passed_qlabs_function_stands_in_a_place(capsys):
    assert line(capsys) == ("mine.bump: qlab's, until you pass 99.1", qlabs)
    assert line(capsys) == ("", qlabs)
    check("99.1", lambda x: x)
    assert line(capsys) == ("", qlabs)


def test_a_function_that_passed_takes_its_place_and_the_change_is_said(capsys):
    assert mine.bump is qlabs
    answer = run_cell(RIGHT)["add_one"]
    verdict = check("99.1", answer)
    assert verdict.status == "passed"
    assert verdict.message.startswith("`mine.bump` is yours from now on, kept in ")
    assert line(capsys) == ("mine.bump: yours, from exercise 99.1", answer)
    assert line(capsys) == ("", answer)


def test_it_is_there_in_the_next_kernel(capsys, monkeypatch, file):
    passed()
    another_kernel(monkeypatch)
    said, function = line(capsys)
    assert said == "mine.bump: yours, from exercise 99.1"
    assert function is not qlabs
    assert function(3) == 4
    assert function.__code__.co_filename == str(file)


def test_the_file_reads_as_it_was_typed_and_says_what_it_is(file):
    passed()
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# `mine.bump`: yours, it passed exercise 99.1.")
    assert text.endswith("\n\nK = 1\n\n\ndef add_one(x):\n    return x + K\n\n\nbump = add_one\n")


def test_a_kept_function_that_raises_shows_its_file_and_line(monkeypatch, file):
    passed("def add_one(x):\n    if x < 0:\n        raise ValueError('no')\n    return x + 1")
    another_kernel(monkeypatch)
    with pytest.raises(ValueError, match="no") as raised:
        mine.bump(-1)
    last = raised.traceback[-1]
    assert (str(last.path), str(last.statement).strip()) == (str(file), "raise ValueError('no')")


@pytest.mark.parametrize("new_kernel", [False, True])
def test_an_edited_file_is_not_run_until_it_is_adopted(capsys, monkeypatch, file, new_kernel):
    answer = run_cell(RIGHT)["add_one"]
    check("99.1", answer)
    text = f"{RAN}def bump(x):\n    return x + 2 - 1\n"
    file.write_text(text, encoding="utf-8")
    if new_kernel:
        another_kernel(monkeypatch)
    said, function = line(capsys)
    assert 'bump.py is not run, for it is not as it passed here; read it, then mine.adopt("bump")' in said
    assert said.startswith("mine.bump: qlab's; " if new_kernel else "mine.bump: yours, from exercise 99.1; ")
    assert function is (qlabs if new_kernel else answer)
    assert not builtins.ran_unasked

    assert mine.adopt("bump").status == "passed"
    assert builtins.ran_unasked
    said, function = line(capsys)
    assert said == "mine.bump: yours, from exercise 99.1"
    assert function.__code__.co_filename == str(file)
    assert file.read_text(encoding="utf-8") == text
    another_kernel(monkeypatch)
    assert mine.bump(1) == 2
    assert read_progress()[0]["exercises"]["99.1"]["tries"] == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.integers(0, 200), st.integers(0, 200))
def test_no_text_but_the_one_that_passed_is_run(file, monkeypatch, inserted, start, removed):
    file.unlink(missing_ok=True)
    passed()
    text = file.read_text(encoding="utf-8")
    edited = text[:start] + inserted + text[start + removed :] + "\n" + RAN
    file.write_bytes(edited.encode("utf-8", "surrogatepass"))
    another_kernel(monkeypatch)
    assert mine.bump is qlabs
    assert not builtins.ran_unasked


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def bump(x):\n    return x\n", "expected 2, seen 1"),
        ("def bump(x:\n", "could not be run: SyntaxError"),
        ("bump = 3\n", "defines no function or class `bump`"),
        ("def other(x):\n    return x + 1\n", "defines no function or class `bump`"),
        ("import nowhere\n", "could not be run: ModuleNotFoundError: No module named 'nowhere', in line 1, `import"),
        ("raise SystemExit\n", "could not be run: SystemExit"),
        ("bump = lambda x: 1 / 0\n", "raised ZeroDivisionError"),
        ("def bump(x):\n    ...\n", "fill in the body of `bump`"),
    ],
)
def test_an_edit_that_does_not_pass_is_not_taken_and_the_reason_said(file, monkeypatch, text, says):
    passed()
    file.write_text(text, encoding="utf-8")
    another_kernel(monkeypatch)
    verdict = mine.adopt("bump")
    assert verdict.status in ("almost", "not yet")
    assert says in verdict.message
    assert mine.bump is qlabs
    assert file.read_text(encoding="utf-8") == text


def test_an_adopted_file_counts_from_then_on_not_what_passed_before_in_this_kernel(file):
    passed()
    passed("w = object()\ndef add_one(x):\n    return x + 1 if w else 0")  # cannot be kept
    assert mine.bump.__name__ == "add_one"
    file.write_text("def bump(x):\n    return 1 + x\n", encoding="utf-8")
    assert mine.adopt("bump").status == "passed"
    assert mine.bump.__name__ == "bump"


def test_what_was_adopted_serves_in_this_kernel_where_its_seal_cannot_be_kept(monkeypatch, file):
    passed()
    file.write_text("def bump(x):\n    return 1 + x\n", encoding="utf-8")
    with monkeypatch.context() as patched:
        patched.setattr(kept, "update_progress", lambda change: "the disk is full")
        verdict = mine.adopt("bump")
    assert verdict.message.startswith("`mine.bump` is yours in this kernel only: the disk is full")
    assert mine.bump.__name__ == "bump"


def test_a_progress_file_that_had_to_be_set_aside_is_spoken_of_though_the_function_is_kept(progress_file):
    progress_file.write_text("{")
    assert "(the progress file was unreadable: it is kept as progress.unreadable-" in passed().message
    assert mine.bump is not qlabs


def test_a_file_that_came_with_a_clone_is_not_run(capsys, file):
    file.parent.mkdir()
    file.write_text(f"{RAN}def bump(x):\n    return x + 1\n", encoding="utf-8")
    said, function = line(capsys)
    assert "bump.py is not run, for it is not as it passed here; read it, then" in said
    assert function is qlabs
    assert not builtins.ran_unasked


def test_a_file_is_not_run_though_the_progress_file_beside_it_has_somebodys_seal_of_it(capsys, monkeypatch, tmp_path):
    passed(RAN + RIGHT)
    builtins.ran_unasked = False
    monkeypatch.setenv("QLAB_CACHE", str(tmp_path / "cache of somebody else"))
    another_kernel(monkeypatch)
    said, function = line(capsys)
    assert "it is not as it passed here" in said
    assert function is qlabs
    assert not builtins.ran_unasked
    assert mine.adopt("bump").status == "passed"
    assert mine.bump(1) == 2


def test_a_text_that_passed_for_one_place_is_not_run_in_another(register, monkeypatch, file, progress_file):
    register(judge_increment, "99.2", place="dump", otherwise=qlabs)
    passed("def dump(x):\n    return x + 1", "dump")  # the text defines both names
    (file.parent / "dump.py").write_bytes(file.read_bytes())
    progress = json.loads(progress_file.read_text())
    progress["mine"]["dump"] = progress["mine"]["bump"]
    progress_file.write_text(json.dumps(progress))
    another_kernel(monkeypatch)
    assert mine.dump is qlabs
    assert mine.bump is not qlabs


def test_a_seal_made_without_a_key_is_worth_nothing(monkeypatch, tmp_path, file, progress_file):
    passed()
    progress = json.loads(progress_file.read_text())
    sealed = f"bump\0{file.read_text(encoding='utf-8')}".encode()
    progress["mine"]["bump"] = hmac.new(b"", sealed, "sha256").hexdigest()
    progress_file.write_text(json.dumps(progress))
    (tmp_path / "cache" / "mine.key").unlink()
    another_kernel(monkeypatch)
    assert mine.bump is qlabs


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps other users out in another way")
def test_nobody_else_can_read_the_key(tmp_path):
    passed()
    assert (tmp_path / "cache" / "mine.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("key", [b"", b"xyz", b"ab", b"\xff" * 64])
def test_a_damaged_key_makes_nothing_run_and_is_replaced_when_the_next_exercise_passes(monkeypatch, tmp_path, key):
    passed()
    (tmp_path / "cache" / "mine.key").write_bytes(key)
    another_kernel(monkeypatch)
    assert mine.bump is qlabs
    passed()
    another_kernel(monkeypatch)
    assert mine.bump is not qlabs


BAD_FILES = {
    "not text": b"\xff\xfe\x00",
    "empty": b"",
    "too large": b"#" * (kept.LARGEST + 1),
    "zeros": b"\0" * 9,
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_cannot_be_read_stops_nothing_and_is_said(capsys, monkeypatch, file, content):
    passed()
    file.write_bytes(content)
    another_kernel(monkeypatch)
    said, function = line(capsys)
    assert function is qlabs
    assert said.startswith("mine.bump: qlab's; ")
    assert mine.adopt("bump").status == "almost"
    passed()
    (aside,) = (file.parent / "earlier").iterdir()
    assert aside.read_bytes() == content


def test_a_folder_in_the_files_place_stops_nothing(capsys, file):
    file.mkdir(parents=True)
    assert "cannot be read: " in line(capsys)[0]
    assert passed().status == "passed"
    assert file.is_file()


@pytest.mark.parametrize("seal", [3, None, {}, {"seal": 1}, "", "é", "\ud800", []])
def test_a_bad_seal_in_the_progress_file_makes_nothing_run(monkeypatch, progress_file, seal):
    passed()
    progress = json.loads(progress_file.read_text())
    for broken in ({"bump": seal}, seal):
        progress_file.write_text(json.dumps({**progress, "mine": broken}))
        another_kernel(monkeypatch)
        assert mine.bump is qlabs
    passed()
    another_kernel(monkeypatch)
    assert mine.bump is not qlabs


def test_a_kept_text_that_cannot_be_run_any_more_stops_nothing(capsys, monkeypatch, tmp_path):
    (tmp_path / "helps.py").write_text("def help(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    passed("import helps\ndef add_one(x):\n    return helps.help(x)")
    (tmp_path / "helps.py").unlink()
    monkeypatch.delitem(sys.modules, "helps")
    another_kernel(monkeypatch)
    said, function = line(capsys)
    assert "could not be run: ModuleNotFoundError: No module named 'helps', in line 4, `import helps`" in said
    assert function is qlabs


def test_what_cannot_be_kept_serves_in_this_kernel_and_the_verdict_says_why(capsys, monkeypatch, file):
    verdict = passed("import numpy\nw = numpy.ones(3)\ndef add_one(x):\n    return x + w.max()")
    assert verdict.status == "passed"
    assert "`mine.bump` is yours in this kernel only: it uses `w`, an array of shape (3,), which" in verdict.message
    assert line(capsys)[0] == "mine.bump: yours, from exercise 99.1; in this kernel only"
    assert mine.bump(1) == 2
    assert not file.exists()
    another_kernel(monkeypatch)
    assert mine.bump is qlabs
    passed()
    verdict = passed("w = object()\ndef add_one(x):\n    return x + 1 if w else 0")
    assert verdict.message.endswith("; later notebooks have the one kept before")


def test_where_progress_is_kept_in_memory_so_are_the_functions(monkeypatch, tmp_path):
    monkeypatch.delenv("QLAB_PROGRESS")
    monkeypatch.setattr(room("course.progress"), "_memory", {})
    monkeypatch.chdir(tmp_path)
    assert passed().message == "`mine.bump` is yours from now on"
    assert mine.bump is not qlabs
    with pytest.raises(FileNotFoundError, match=r"no file to adopt for mine\.bump"):
        mine.adopt("bump")
    mine.reset()
    assert mine.bump is qlabs
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_the_function_serves_in_this_kernel(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("QLAB_PROGRESS", str(tmp_path / "file" / "progress.json"))
    verdict = passed()
    assert verdict.status == "passed"
    assert "yours in this kernel only" in verdict.message
    assert mine.bump is not qlabs


def test_where_no_key_can_be_kept_the_function_serves_in_this_kernel(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    verdict = passed()
    assert "yours in this kernel only: cannot make the cache folder" in verdict.message
    assert mine.bump is not qlabs


def test_a_reset_sets_the_text_aside_and_has_qlabs_again(capsys, monkeypatch, file):
    passed()
    text = file.read_text(encoding="utf-8")
    capsys.readouterr()
    mine.reset("bump")
    said = capsys.readouterr().out
    (aside,) = (file.parent / "earlier").iterdir()
    assert aside.read_text(encoding="utf-8") == text
    assert said.startswith("mine.bump: qlab's again; your text is set aside as ")
    assert aside.name in said
    assert not file.exists()
    assert line(capsys) == ("mine.bump: qlab's, until you pass 99.1", qlabs)
    assert read_progress()[0]["exercises"]["99.1"]["status"] == "passed"
    passed()
    another_kernel(monkeypatch)
    assert mine.bump is not qlabs


def test_a_reset_of_all_speaks_of_those_that_were_the_readers(capsys, register):
    register(judge_increment, "99.2", place="dump", otherwise=qlabs)
    passed()
    capsys.readouterr()
    mine.reset()
    said = capsys.readouterr().out.splitlines()
    assert [text.partition(":")[0] for text in said] == ["mine.bump"]


def test_another_text_that_passes_sets_the_one_before_aside(file):
    passed()
    before = file.read_text(encoding="utf-8")
    passed()
    assert not (file.parent / "earlier").exists()
    passed("def add_one(x):\n    return 1 + x")
    (aside,) = (file.parent / "earlier").iterdir()
    assert aside.read_text(encoding="utf-8") == before


def test_a_reset_in_another_kernel_is_seen_in_this_one():
    passed()
    assert mine.bump is not qlabs
    kept.forget("bump")
    assert mine.bump is qlabs


def test_two_functions_of_one_answer_have_a_place_each_and_one_of_them_can_be_edited(register, monkeypatch, file):
    register(judge_two, "99.2", place=("one", "two"), otherwise=(qlabs, qlabs))
    names = run_cell("def one(x):\n    return x + 1\ndef two(x):\n    return one(x) + 1")
    assert check("99.2", (names["one"], names["two"])).status == "passed"
    another_kernel(monkeypatch)
    assert (mine.one(1), mine.two(1)) == (2, 3)
    (file.parent / "two.py").write_text("def two(x):\n    return x + 2\n")
    assert mine.adopt("two").status == "passed"
    (file.parent / "two.py").write_text("def two(x):\n    return x + 3\n")
    assert mine.adopt("two").status == "almost"
    assert (mine.one(1), mine.two(1)) == (2, 3)  # what passed in this kernel serves on
    another_kernel(monkeypatch)
    assert (mine.one(1), mine.two) == (2, qlabs)


def test_a_class_has_a_place_as_well(register, monkeypatch):
    register(lambda answer: expect_equal(answer(3).top, 3), "99.2", place="Keeper", otherwise=qlabs)
    cell = "class Keeper:\n    def __init__(self, x):\n        self.top = x"
    assert check("99.2", run_cell(cell)["Keeper"]).status == "passed"
    another_kernel(monkeypatch)
    assert mine.Keeper(4).top == 4


def test_a_dataclass_is_kept_also_where_its_annotations_are_text(register, monkeypatch):
    register(lambda answer: expect_equal(answer(3).top, 3), "99.2", place="Keeper", otherwise=qlabs)
    cell = "from dataclasses import dataclass\n@dataclass\nclass Keeper:\n    top: 'int'\n"
    cell += "    def range(self):\n        return 0, self.top"
    assert check("99.2", run_cell(cell)["Keeper"]).status == "passed"
    another_kernel(monkeypatch)
    assert mine.Keeper(4).range() == (0, 4)


def test_a_kept_function_may_call_another_place(monkeypatch, register):
    register(judge_increment, "99.2", place="dump", otherwise=qlabs)
    assert passed().status == "passed"
    check("99.2", run_cell("from qlab.course import mine\ndef f(x):\n    return mine.bump(x)")["f"])
    another_kernel(monkeypatch)
    assert mine.dump(1) == 2


def test_what_is_kept_can_be_checked_again(monkeypatch, file):
    passed()
    text = file.read_text(encoding="utf-8")
    another_kernel(monkeypatch)
    assert check("99.1", mine.bump).status == "passed"
    assert file.read_text(encoding="utf-8") == text


def test_a_place_that_is_not_there_says_which_are():
    says = r"mine\.nonsense is not one of the places; there are .*bump"
    with pytest.raises(AttributeError, match=says):
        mine.nonsense  # noqa: B018
    for change in (mine.adopt, mine.reset):
        with pytest.raises(ValueError, match=says):
            change("nonsense")


def test_places_are_listed_for_completion_and_none_is_hidden_by_a_name_of_the_module():
    assert {"bump", "adopt", "reset"} <= set(dir(mine))
    assert set(lessons.places()).isdisjoint(vars(mine))


def test_the_table_says_of_each_place_whose_it_is_and_where_it_lies(capsys, monkeypatch, register, file):
    register(judge_increment, "99.2", place="dump", otherwise=qlabs)
    passed()
    capsys.readouterr()
    monkeypatch.chdir(file.parent.parent)
    mine._ipython_display_()
    title, heads, *rows = capsys.readouterr().out.splitlines()
    assert title == f"your own quantizer: 1 of {len(rows)} functions are yours"
    assert heads.split() == ["place", "whose", "file"]
    rows = {row.split()[0]: row.split("  ") for row in rows}
    assert [cell.strip() for cell in rows["mine.bump"] if cell] == [
        "mine.bump",
        "yours, from exercise 99.1",
        ".qlab-mine-progress/bump.py",
    ]
    assert "qlab's, until you pass 99.2" in "  ".join(rows["mine.dump"])


def test_beside_a_learners_progress_file_the_folder_is_one_that_git_ignores(monkeypatch, tmp_path):
    monkeypatch.setenv("QLAB_PROGRESS", str(ROOT / FILE_NAME))
    assert kept.folder() == ROOT / ".qlab-mine"
    ignored = subprocess.run(["git", "check-ignore", ".qlab-mine/x.py"], cwd=ROOT, capture_output=True, text=True)
    assert ignored.stdout.strip() == ".qlab-mine/x.py"


@pytest.mark.slow
def test_kernels_that_pass_at_once_leave_a_file_and_a_seal_that_fit(monkeypatch, file):
    code = f"""
import sys
from qlab.course import kept
from tests.rooms import room
progress = room("course.progress")  # a learner goes on after a second without the lock
progress._LOCK_WAIT_S = progress._LOCK_STALE_S = {WAIT_LIMIT_S}
for k in range(20):
    assert kept.keep("bump", f"bump = lambda x: x + {{sys.argv[1]}} + {{k}}") == ""
"""
    kernels = [subprocess.Popen([sys.executable, "-c", code, name], cwd=ROOT) for name in ("1", "2")]
    assert [kernel.wait() for kernel in kernels] == [0, 0]
    assert mine.bump is not qlabs
    assert len(list((file.parent / "earlier").iterdir())) == 39
    assert [left.name for left in file.parent.iterdir() if left.is_file()] == ["bump.py"]
