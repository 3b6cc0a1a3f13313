"""What is slow says so; what is quick says nothing."""

import time

import pytest

from qlab.measure.doctor.stages import stage


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
