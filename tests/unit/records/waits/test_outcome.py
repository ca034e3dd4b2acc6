"""Claims about what is said of a wait that has failed, by a table of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from httpserve.records.claims import Instead
from httpserve.records.coverage import Coverage
from httpserve.records.model import RequestRecord
from httpserve.records.terms import Amount, Boards, amount
from httpserve.records.waits.outcome import (
    ELSEWHERE,
    HEAD_ONLY,
    NEXT_STEPS,
    NOBODY,
    NOT_MODIFIED,
    NOTHING,
    OLDER,
    OTHERS,
    RANGES,
    REJECTED,
    RETURNED,
    STEPS_BY_END,
    STOPPED,
    FailedWait,
    Way,
    happened,
    not_asked,
)
from tests.cases import each

ONE, OTHER = "10.0.0.2", "10.0.0.3"
NONE = (0, ((0, 100),))  # has arrived, and all is missing
BY_FUNCTION = Boards(predicate=lambda request: False)


def request(
    target: str = "/f",
    client: str = ONE,
    *,
    status: int = 200,
    received: int = 0,
    outcome: str = "completed",
    method: str = "GET",
) -> RequestRecord:
    name, is_completed = target[1:] if status < 400 else "", outcome == "completed"
    asked = (0.0, client, 1, "10.0.0.1", method, target, status, "")
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
    older: Sequence[str] = (),
    returned: Sequence[str] = (),
    connected: Sequence[str] = (ONE,),
    silent: Sequence[str] = (),
) -> FailedWait:
    return FailedWait(
        name="f",
        size=size,
        boards=boards or Boards(),
        amount=wanted or Amount(),
        coverages=coverages or {},
        instead=Instead(tuple(requests), list(older), list(returned), list(silent)),
        connected=set(connected),
        nearest=lambda names: {name: ("f",) for name in names if name == "F"},
    )


@each(
    ("what", "word", "received", "missing", "text"),
    [
        (case(connected=[]), NOBODY, *NONE, "nobody connected"),
        (
            case(),
            NOTHING,
            *NONE,
            f"nobody asked for it, nor for anything else, in the time that counts: {ONE} asked only before it",
        ),
        (
            case(silent=[ONE]),
            NOTHING,
            *NONE,
            f"nobody asked for it, nor for anything else: {ONE} connected, but sent no request",
        ),
        (
            case(requests=[request("/F", status=404), request("/F", OTHER, status=404), request("/g")]),
            OTHERS,
            *NONE,
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
            f"{ONE} has 90 of 100 bytes: only these ranges are missing: 10-19",
        ),
        (
            case({ONE: has(*((at, at + 1) for at in range(0, 14, 2)), total=13)}, size=13),
            RANGES,
            7,
            tuple((at, at + 1) for at in range(1, 13, 2)),
            f"{ONE} has 7 of 13 bytes: only these ranges are missing: 1-1, 3-3, 5-5, 7-7, 9-9 and 1 more",
        ),
        (
            case({ONE: has((0, 100))}, [request(received=100)], wanted=amount("idle", 3)),
            STOPPED,
            100,
            (),
            f"{ONE} has 100 of 100 bytes: the whole (all of that answer arrived, less than 3 s ago)",
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
            *NONE,
            "it was asked for, but nothing of it has arrived "
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
            case({ONE: has((0, 100))}, boards=Boards(count=2)),
            NOTHING,
            *NONE,
            f"{ONE} has it; nobody else asked for it, nor for anything else",
        ),
        (
            case(boards=Boards(2, (ONE, OTHER))),
            NOTHING,
            *NONE,
            f"{ONE}, {OTHER} did not ask for it, nor for anything else: {OTHER} never connected",
        ),
        (
            case(boards=Boards(1, (ONE,)), silent=[ONE, OTHER]),
            NOTHING,
            *NONE,
            f"it did not ask for it, nor for anything else: {ONE} connected, but sent no request",
        ),
        (
            case(requests=[request("", status=400)]),
            NOTHING,
            *NONE,
            f"nobody asked for it, nor for anything else, in the time that counts: {ONE} asked only before it",
        ),
        (
            case(requests=[request(f"/{number}") for number in range(8)]),
            OTHERS,
            *NONE,
            "nobody asked for it; asked for instead: "
            + ", ".join(f"/{number} (200, by {ONE})" for number in range(3, 8))
            + " and 3 more",
        ),
        (  # behind NAT a board has another address than it thinks
            case(
                requests=[request(client="10.0.0.9"), request(client="10.0.0.8")],
                boards=Boards(addresses=(ONE,)),
                connected=["10.0.0.8", "10.0.0.9"],
            ),
            ELSEWHERE,
            *NONE,
            "it did not ask for it, nor for anything else: it never connected; but 10.0.0.8, 10.0.0.9 asked for it",
        ),
        (
            case(requests=[request("/F", status=404), request("/g", OTHER)], boards=Boards(addresses=(ONE,))),
            OTHERS,
            *NONE,
            f"it did not ask for it; asked for instead: /F (404, by {ONE}; there is f)",
        ),
        (
            case(requests=[request("/g")], returned=[ONE, OTHER]),
            OTHERS,
            *NONE,
            f"nobody asked for it; asked for instead: /g (200, by {ONE}); "
            f"an earlier wait has returned what {ONE}, {OTHER} had",
        ),
        (
            case({ONE: has((0, 100))}, returned=[ONE, OTHER], older=[OTHER], boards=Boards(count=3)),
            RETURNED,
            *NONE,
            f"{ONE} has it; nobody else asked for it since; an earlier wait has returned what {OTHER} had",
        ),
        (
            case({ONE: has((0, 100))}, older=[ONE, OTHER], silent=["10.0.0.9"], boards=Boards(count=2)),
            OLDER,
            *NONE,
            f"{ONE} has it; {OTHER} asked for an older version of it, and not for the current one",
        ),
        (
            case(requests=[request(received=100), request("/f?b=2", received=40)], boards=BY_FUNCTION),
            REJECTED,
            *NONE,
            f"the client= function rejected GET /f by {ONE}, which brought all of it",
        ),
        (
            case(requests=[request()], boards=BY_FUNCTION, size=0),
            REJECTED,
            0,
            (),
            f"the client= function rejected GET /f by {ONE}, which brought all of it",
        ),
        (
            case(requests=[request(outcome="reset")], boards=BY_FUNCTION),
            STOPPED,
            *NONE,
            "it was asked for, but nothing of it has arrived "
            "(last by GET, answer 200: the client reset the connection)",
        ),
        (
            case(requests=[request(method="HEAD"), request(client=OTHER, method="HEAD")]),
            HEAD_ONLY,
            *NONE,
            f"{ONE}, {OTHER} asked for its size only (HEAD)",
        ),
        (
            case(requests=[request(method="HEAD"), request(status=304)]),
            NOT_MODIFIED,
            *NONE,
            f"it was asked for only if it has changed, and it has not (304, by {ONE})",
        ),
        (  # the reset is why it stopped, not the small range that was read again
            case({ONE: has((0, 40))}, [request(received=40, outcome="reset"), request(status=206, received=9)]),
            STOPPED,
            40,
            ((40, 100),),
            f"{ONE} has 40 of 100 bytes: started, stopped at byte 40 of 100 (the client reset the connection)",
        ),
    ],
)
def test_what_happened_is_a_word_and_a_text_with_the_figures(
    what: FailedWait, word: str, received: int, missing: tuple[tuple[int, int], ...], text: str
) -> None:
    outcome = happened(what)

    assert outcome[:4] == (word, text, received, missing)
    if what.amount == amount("idle", 3):
        assert outcome.next_step == ""
    else:
        assert outcome.next_step in ([NEXT_STEPS[word]] if word in NEXT_STEPS else ["", *STEPS_BY_END.values()])


def test_of_several_who_have_a_part_the_figures_are_of_who_has_most() -> None:
    told = happened(case({ONE: has((0, 4)), OTHER: has((0, 2), (90, 100))}))

    assert (told.word, told.received, told.missing) == (RANGES, 12, ((2, 90),))
    assert told.text.count("; ") == 1


@each(
    ("instead", "connected", "word", "text"),
    [
        (Instead((), [], [], []), [], NOBODY, "nobody connected"),
        (Instead((), [], [], []), [ONE], NOTHING, "nobody asked for anything"),
        (
            Instead((), [], [], [ONE]),
            [ONE],
            NOTHING,
            f"nobody asked for anything: {ONE} connected, but sent no request",
        ),
        (Instead((request("", status=400),), [], [], []), [ONE], NOTHING, "nobody asked for anything"),
        (
            Instead((), [], [ONE], []),
            [ONE],
            RETURNED,
            f"nobody asked for anything since; an earlier wait has returned what {ONE} asked",
        ),
        (
            Instead((request("/F", status=404),), [], [ONE], []),
            [ONE],
            OTHERS,
            f"asked for instead: /F (404, by {ONE}; there is f)",
        ),
    ],
)
def test_where_no_request_came_it_says_what_came_instead(
    instead: Instead, connected: list[str], word: str, text: str
) -> None:
    nearest = case().nearest

    assert not_asked(instead, connected, nearest)[:2] == (word, text)
    assert not_asked(instead, connected, nearest, request("/r"))[:2] == (
        REJECTED,
        f"the client= function rejected GET /r by {ONE}",
    )


@each(
    ("what", "url", "peer", "end"),
    [
        (
            case(connected=[]),
            "http://10.0.0.1/f",
            None,
            f"nobody connected; the URL for boards is http://10.0.0.1/f; no way; {NEXT_STEPS[NOBODY]}",
        ),
        (case(connected=[]), None, ONE, f"nobody connected; no way; {NEXT_STEPS[NOBODY]}"),
        (
            case(requests=[request("/g")]),
            "http://10.0.0.1/f",
            ONE,
            f"/g (200, by {ONE}); the URL for peer {ONE} is http://10.0.0.1/f; {NEXT_STEPS[OTHERS]}",
        ),
        (
            case({ONE: has((0, 40))}),
            "http://10.0.0.1/f",
            ONE,
            "stopped at byte 40 of 100 (how it ended is not kept)",
        ),
    ],
)
def test_the_error_has_the_way_here_and_its_text_has_it_where_it_may_be_the_cause(
    what: FailedWait, url: str | None, peer: str | None, end: str
) -> None:
    outcome = happened(what)

    error = outcome.error("nobody has it", "f", 2.0, Way(url, peer, ("no way",)), 100)

    assert str(error).startswith("nobody has it within 2 s: ")
    assert str(error).endswith(end)
    assert (error.url, error.peer, error.obstacles) == (url, peer, ("no way",))
    assert (error.happened, error.next_step, error.total) == (outcome.word, outcome.next_step, 100)
