"""When an actor is restarted, after which wait, and when the tree gives up: OTP's intensity and period."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepdb.config import load_config
from keepdb.runtime.restarts import GiveUp, Restart, plan_restart

CONFIG = load_config().supervisor
NOW = 10_000.0


@pytest.mark.parametrize(("recent", "delay_ms"), [(0, 0), (1, 50), (2, 100), (3, 200), (4, 400)])
def test_the_first_restart_is_immediate_and_the_next_ones_wait_longer(recent: int, delay_ms: int) -> None:
    assert plan_restart([NOW - 1.0] * recent, CONFIG, NOW) == Restart(delay_ms / 1000)


def test_more_restarts_than_the_intensity_mean_giving_up() -> None:
    assert plan_restart([NOW - 1.0] * CONFIG.restarts_max, CONFIG, NOW) == GiveUp(CONFIG.restarts_max)


def test_restarts_before_the_period_do_not_count() -> None:
    old = [NOW - CONFIG.restarts_period_s - 1.0] * 100

    assert plan_restart(old, CONFIG, NOW) == Restart(0.0)


def test_no_restart_at_all_can_be_asked_for() -> None:
    assert plan_restart([], msgspec.structs.replace(CONFIG, restarts_max=0), NOW) == GiveUp(0)


@given(st.lists(st.floats(0, NOW), max_size=200))
def test_a_wait_never_passes_its_limit(history: list[float]) -> None:
    plan = plan_restart(history, msgspec.structs.replace(CONFIG, restarts_max=1_000_000), NOW)

    assert isinstance(plan, Restart)
    assert 0.0 <= plan.delay_s <= CONFIG.backoff_ms_max / 1000
