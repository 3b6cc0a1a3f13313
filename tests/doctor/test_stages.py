"""What is slow says so; what is quick says nothing."""

import pytest

from qlab.doctor import request as stages
from qlab.doctor.request import stage, waiting


class Timers:
    """Time that passes only where a test lets it, and the timers of that time, in place of `time` and `threading`."""

    def __init__(self):
        self.now, self.running = 0.0, []

    def monotonic(self):
        return self.now

    def Timer(self, seconds, function):
        return _Timer(self, seconds, function)

    def let_pass(self, seconds):
        self.now += seconds
        for timer in [timer for timer in self.running if timer.due <= self.now]:
            timer.cancel()
            timer.function()


class _Timer:
    def __init__(self, timers, seconds, function):
        self.timers, self.function, self.due = timers, function, timers.now + seconds

    def start(self):
        self.timers.running.append(self)

    def cancel(self):
        if self in self.timers.running:
            self.timers.running.remove(self)


@pytest.fixture
def timers(monkeypatch):
    timers = Timers()
    monkeypatch.setattr(stages, "time", timers)
    monkeypatch.setattr(stages, "threading", timers)
    return timers


def test_a_slow_stage_is_named_once_on_stderr(capsys, timers):
    with stage("calibrating", patience_s=3):
        timers.let_pass(2)
        assert capsys.readouterr() == ("", "")
        timers.let_pass(20)
    assert capsys.readouterr() == ("", "calibrating ...\n")


def test_a_real_timer_says_it_too(capsys):
    with stage("calibrating", patience_s=0):
        said = ""
        while not said.endswith("\n"):
            said += capsys.readouterr().err
    assert said == "calibrating ...\n"


def test_a_quick_stage_and_one_that_fails_say_nothing(capsys, timers):
    with stage("calibrating", patience_s=3):
        pass
    with pytest.raises(ValueError, match="no"), stage("calibrating", patience_s=3):
        raise ValueError("no")
    timers.let_pass(100)
    assert capsys.readouterr() == ("", "")


def test_quick_stages_in_a_row_are_one_silence(capsys, timers):
    with waiting():
        for name in ("one", "two", "three", "four"):
            with stage(name, patience_s=5):
                timers.let_pass(2)
    assert capsys.readouterr().err == "three ...\n"
    with stage("afterwards", patience_s=5):
        timers.let_pass(2)
    assert capsys.readouterr() == ("", "")
