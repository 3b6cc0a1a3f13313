"""What is slow says so; what is quick says nothing."""

import time

import pytest

from qlab.measure.doctor.stages import stage, waiting


def test_a_slow_stage_is_named_once_on_stderr(capsys):
    with stage("calibrating", patience_s=0.01):
        time.sleep(0.2)
    assert capsys.readouterr() == ("", "calibrating ...\n")


def test_a_quick_stage_and_one_that_fails_say_nothing(capsys):
    with stage("calibrating", patience_s=30):
        pass
    with pytest.raises(ValueError, match="no"), stage("calibrating", patience_s=30):
        raise ValueError("no")
    assert capsys.readouterr() == ("", "")


def test_quick_stages_in_a_row_are_one_silence(capsys):
    with waiting():
        for name in ("one", "two", "three", "four"):
            with stage(name, patience_s=0.5):
                time.sleep(0.2)
    assert 1 <= len(capsys.readouterr().err.splitlines()) < 4
    with stage("afterwards", patience_s=30):
        pass
    assert capsys.readouterr() == ("", "")
