"""Calls carried by Dialer and by the usual Celery design, in turn, with the same contacts, network and servers."""

from dataclasses import dataclass
from itertools import chain

from benchmarks.baseline import processes
from benchmarks.baseline.processes import Baseline
from dialer.bench.carried import carry, cpu_per_call
from dialer.bench.engine import MAX_SLOTS
from dialer.bench.figure import Figure, Row, Size, medians
from dialer.bench.servers import FAST, Bench

GIVE_UP_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Work:
    """How many contacts each run calls, over how many batches."""

    contacts: int
    batches: tuple[int, ...]
    repeats: int


WORK = {
    Size.QUICK: Work(60, (2,), 1),
    Size.USUAL: Work(3_000, (50,), 3),
    Size.FULL: Work(20_000, (1, 10, 50), 5),
}


def beside(bench: Bench) -> Figure:
    """Take turns, so that whatever else the machine does meets both."""
    work, violations = WORK[bench.size], 0
    runs: dict[tuple[str, int], list[Row]] = {}
    for _ in range(work.repeats):
        engine = bench.engine()
        for batches in work.batches:
            runs.setdefault(("dialer", batches), []).append(carry(engine, batches, work.contacts))
        violations += engine.violations()
        with processes.running(bench, FAST) as baseline:
            warm_up(baseline)
            for batches in work.batches:
                runs.setdefault(("usual design", batches), []).append(carry_usual(baseline, batches, work.contacts))
    results = {who: medians(rows) for who, rows in runs.items()}
    pairs = [(results["usual design", batches], results["dialer", batches], batches) for batches in work.batches]
    return Figure(list(chain.from_iterable(compared(*pair) for pair in pairs)), violations)


def compared(usual: Row, dialer: Row, batches: int) -> list[Row]:
    """Return a row for each, and the ratios: how many times as many calls, for what share of the CPU time."""
    ratio = {name: quotient(dialer[name], usual[name]) for name in usual}
    named = (("usual design", usual), ("dialer", dialer), ("dialer / usual design", ratio))
    return [{"what": what, "batches": batches, **{name: row[name] for name in usual}} for what, row in named]


def quotient(one: object, other: object) -> float | None:
    """Return the quotient of two numbers; None: the CPU time was too short for its clock."""
    assert isinstance(one, int | float)
    assert isinstance(other, int | float)
    return one / other if other else None


def warm_up(baseline: Baseline) -> None:
    """Call a few contacts, so that every process has finished starting."""
    baseline.activate([baseline.add_campaign(2 * MAX_SLOTS, MAX_SLOTS)])
    baseline.wait_until(lambda: baseline.open_contacts() == 0, GIVE_UP_SECONDS, "the first calls")


def carry_usual(baseline: Baseline, batches: int, contacts: int) -> Row:
    """Call so many contacts to the end, once each."""
    ids = [baseline.add_campaign(contacts // batches, MAX_SLOTS) for _ in range(batches)]
    before = baseline.cpu_seconds()
    baseline.activate(ids)
    baseline.wait_until(lambda: baseline.open_contacts() == 0, GIVE_UP_SECONDS, "calling the contacts")
    used = {kind: seconds - before[kind] for kind, seconds in baseline.cpu_seconds().items()}
    ((calls, seconds),) = baseline.database.execute(
        """
        SELECT count(*), extract(epoch FROM max(c.finished_at) - min(k.created_at))
        FROM contacts c JOIN calls k ON k.contact_id = c.id WHERE c.campaign_id = ANY(%s)
        """,
        [ids],
    ).fetchall()
    return {"calls_per_second": calls / float(seconds), **cpu_per_call(used, calls)}
