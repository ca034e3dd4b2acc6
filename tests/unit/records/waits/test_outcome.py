"""Claims about what is said of a wait that was in vain, by a table of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from httpserve.records.coverage import Coverage
from httpserve.records.model import RequestRecord
from httpserve.records.terms import Amount, Boards, amount
from httpserve.records.waits.outcome import NOBODY, OTHERS, RANGES, STOPPED, FailedWait, happened, not_asked
from tests.cases import each

ONE, OTHER = "10.0.0.2", "10.0.0.3"
NOTHING = (0, ((0, 100),))  # has arrived, and all is missing


def request(
    target: str = "/f", client: str = ONE, *, status: int = 200, received: int = 0, outcome: str = "completed"
) -> RequestRecord:
    name, is_completed = target[1:] if status < 400 else "", outcome == "completed"
    asked = (0.0, client, 1, "10.0.0.1", "GET", target, status, "")
    return RequestRecord(*asked, received, 0.0, "", is_completed, name, outcome)


def has(*spans: tuple[int, int], total: int = 100) -> Coverage:
    coverage = Coverage("v", total)
    coverage.add(list(spans), 1.0, 2.0, "", asked=True)
    return coverage


def case(
    coverages: Mapping[str, Coverage] | None = None,
    requests: Sequence[RequestRecord] = (),
    *,
    boards: Boards | None = None,
    wanted: Amount | None = None,
    size: int = 100,
    was_returned: bool = False,
    connected: Sequence[str] = (),
    silent: Sequence[str] = (),
) -> FailedWait:
    return FailedWait(
        name="f",
        size=size,
        boards=boards or Boards(),
        amount=wanted or Amount(),
        coverages=coverages or {},
        requests=requests,
        was_returned=was_returned,
        connected=connected,
        silent=silent,
        nearest=lambda names: {name: ("f",) for name in names if name == "F"},
    )


@each(
    ("what", "word", "received", "missing", "text"),
    [
        (case(), NOBODY, *NOTHING, "nobody asked for it, nor for anything else: nobody connected"),
        (
            case(connected=[ONE], silent=[ONE]),
            NOBODY,
            *NOTHING,
            f"nobody asked for it, nor for anything else: {ONE} connected, but sent no request",
        ),
        (
            case(requests=[request("/F", status=404), request("/F", OTHER, status=404), request("/g")]),
            OTHERS,
            *NOTHING,
            "nobody asked for it; asked for instead: "
            f"/F (404, by {ONE}; there is f), /F (404, by {OTHER}; there is f), /g (200, by {ONE})",
        ),
        (
            case({ONE: has((0, 40))}, [request(received=40, outcome="reset")]),
            STOPPED,
            40,
            ((40, 100),),
            f"{ONE} has 40 of 100 bytes: started, stopped at byte 40 of 100 (the client reset the connection)",
        ),
        (
            case({ONE: has((0, 40))}, [request(received=40, outcome="cut"), request()]),  # the last brought nothing
            STOPPED,
            40,
            ((40, 100),),
            f"{ONE} has 40 of 100 bytes: started, stopped at byte 40 of 100 (the server cut it)",
        ),
        (
            case({ONE: has((0, 40))}),
            STOPPED,
            40,
            ((40, 100),),
            f"{ONE} has 40 of 100 bytes: started, stopped at byte 40 of 100 (how it ended is not kept)",
        ),
        (
            case({ONE: has((0, 10), (20, 100))}, [request(received=80)]),
            RANGES,
            90,
            ((10, 20),),
            f"{ONE} has 90 of 100 bytes: only these ranges are missing: 10-19; "
            'for a client that never takes all there is until="idle"',
        ),
        (
            case({ONE: has(*((at, at + 1) for at in range(0, 14, 2)), total=13)}, size=13),
            RANGES,
            7,
            tuple((at, at + 1) for at in range(1, 13, 2)),
            f"{ONE} has 7 of 13 bytes: only these ranges are missing: 1-1, 3-3, 5-5, 7-7, 9-9 and 1 more; "
            'for a client that never takes all there is until="idle"',
        ),
        (
            case({ONE: has((0, 100))}, [request(received=100)], wanted=amount("idle", 3)),
            STOPPED,
            100,
            (),
            f"{ONE} has 100 of 100 bytes: the whole (but not for 3 s without more; all of that answer arrived)",
        ),
        (
            case({ONE: has((0, 4)), OTHER: has((0, 5))}, boards=Boards(addresses=(ONE,))),
            STOPPED,
            4,
            ((4, 100),),
            f"{ONE} has 4 of 100 bytes: started, stopped at byte 4 of 100 (how it ended is not kept)",
        ),
        (
            case(requests=[request(received=9, outcome="lost")]),
            STOPPED,
            *NOTHING,
            "it was asked for, but nothing that counts has arrived of the current version "
            "(last by GET, answer 200: the client did not answer any more)",
        ),
        (
            case(requests=[request(outcome="closed")], size=0),
            STOPPED,
            0,
            (),
            "it was asked for, but not received (last by GET, answer 200: the client closed the connection)",
        ),
        (
            case({ONE: has((0, 100))}, boards=Boards(count=2), connected=[ONE]),
            NOBODY,
            *NOTHING,
            f"{ONE} has it; nobody else asked for it, nor for anything else",
        ),
        (
            case(boards=Boards(2, (ONE, OTHER)), connected=[ONE]),
            NOBODY,
            *NOTHING,
            f"{ONE}, {OTHER} did not ask for it, nor for anything else: {OTHER} never connected",
        ),
        (
            case(requests=[request("", status=400)], connected=[ONE]),
            NOBODY,
            *NOTHING,
            "nobody asked for it, nor for anything else",
        ),
        (
            case(requests=[request(f"/{number}") for number in range(8)]),
            OTHERS,
            *NOTHING,
            "nobody asked for it; asked for instead: "
            + ", ".join(f"/{number} (200, by {ONE})" for number in range(3, 8))
            + " and 3 more",
        ),
        (  # behind NAT a board has another address than it thinks
            case(requests=[request(client="10.0.0.9"), request(client="10.0.0.8")], boards=Boards(addresses=(ONE,))),
            NOBODY,
            *NOTHING,
            "it did not ask for it, nor for anything else: it never connected; but 10.0.0.8, 10.0.0.9 asked for it",
        ),
        (
            case(requests=[request("/F", status=404), request("/g", OTHER)], boards=Boards(addresses=(ONE,))),
            OTHERS,
            *NOTHING,
            f"it did not ask for it; asked for instead: /F (404, by {ONE}; there is f)",
        ),
        (
            case(requests=[request("/g")], was_returned=True),
            OTHERS,
            *NOTHING,
            f"nobody asked for it; asked for instead: /g (200, by {ONE}); "
            "what came before, an earlier wait has returned",
        ),
    ],
)
def test_what_happened_is_told_by_a_word_and_the_figures(
    what: FailedWait, word: str, received: int, missing: tuple[tuple[int, int], ...], text: str
) -> None:
    assert happened(what) == (word, text, received, missing)


def test_of_several_who_have_a_part_the_figures_are_of_who_has_most() -> None:
    told = happened(case({ONE: has((0, 4)), OTHER: has((0, 2), (90, 100))}))

    assert (told.word, told.received, told.missing) == (RANGES, 12, ((2, 90),))
    assert told.text.count("; ") == 2


@each(
    ("requests", "connected", "told"),
    [
        ([], [], (NOBODY, "nobody asked for anything: nobody connected")),
        ([], [ONE], (NOBODY, "nobody asked for anything")),
        ([request("", status=400)], [ONE], (NOBODY, "nobody asked for anything")),
        ([request("/F", status=404)], [ONE], (OTHERS, f"asked for instead: /F (404, by {ONE}; there is f)")),
    ],
)
def test_of_a_request_in_vain_is_told_what_came_instead(
    requests: list[RequestRecord], connected: list[str], told: tuple[str, str]
) -> None:
    found = not_asked(requests, connected, case().nearest)

    assert (found.word, found.text) == told
