"""Finds a shorter version of a scenario that breaks a promise."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from chaos.harness import Harness
from chaos.runner import ScenarioResult, run_scenario
from chaos.scenario import Scenario


def shrink(result: ScenarioResult, harness: Harness) -> Iterator[ScenarioResult]:
    """Yield a broken scenario, then ever shorter ones that break the same promise."""
    yield result
    for change in _simplifications(result):
        shorter = run_scenario(change(result.scenario), harness)
        if shorter.violations and _broken_promise(shorter) == _broken_promise(result):
            result = shorter
            yield result


def _broken_promise(result: ScenarioResult) -> str:
    """Return the first broken promise: a shorter scenario must break the same."""
    promise = re.search(r"P\d|deadlock|raised", result.violations[0])
    return promise.group() if promise else result.violations[0]


def _simplifications(result: ScenarioResult) -> Iterator[Callable[[Scenario], Scenario]]:
    """Yield changes that make a scenario shorter: fewer fault kinds, fewer faults, fewer contacts."""
    for kind in sorted(result.scenario.fault_kinds()):
        yield lambda scenario, kind=kind: replace(scenario, without=scenario.without | {kind})  # type: ignore[misc]
    for kind in ("lost", "late", "repeated", "reordered", "timeout_before", "timeout_after", "refused", "server_error"):
        yield lambda scenario, kind=kind: replace(scenario, without=scenario.without | {kind})  # type: ignore[misc]
    yield lambda scenario: replace(scenario, only=frozenset())
    for fault in result.faults:
        yield lambda scenario, fault=fault: replace(  # type: ignore[misc]
            scenario, only=(scenario.only if scenario.only is not None else frozenset(result.faults)) - {fault}
        )
    for count in (1, 2, 3, 5):
        yield lambda scenario, count=count: replace(scenario, contacts=count)  # type: ignore[misc]
