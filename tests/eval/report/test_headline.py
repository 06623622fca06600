"""Which method the report names, on results whose answer is known."""

import math
import re

import made_results
import pytest

from eval.report import headline
from eval.statistics.comparison import Compared
from eval.statistics.intervals import Difference
from pipeline.core.manifest import read_manifest, write_manifest

LABEL = {"ff": "FF", "ft": "FT", "copy": "COPY"}


def of(root, quality, **more):
    results = made_results.results(root, quality, **more)
    return results, headline.answers(Compared(results, "sample", None))


def ft_first(column, method, t):
    """SSIM (higher is better) and the distance (lower is) both have FT first by far; the copy beats both of them."""
    good = {"copy": 2, "ft": 1, "ff": 0}[method]
    return 0.5 + 0.1 * good + 0.02 * math.log2(t) if column == "ssim" else 1.0 - 0.3 * good


def test_a_method_that_wins_every_comparison_is_named_and_called_clear(tmp_path):
    _, found = of(tmp_path, ft_first, seconds={"ft": 9.0, "ff": 0.02})
    assert [(one.shots, one.method, one.sure) for one in found] == [(t, "ft", headline.CLEAR) for t in (1, 8, 32)]
    assert all((one.won, one.lost, one.undecided) == (2, 0, 0) for one in found)  # one other drawing method, two columns
    assert all(lead.next == "ff" and lead.by.low > 0 and lead.first == 1 for one in found for lead in one.leads)
    assert found[0].leads[0].by.value == pytest.approx(0.1, abs=0.01)
    assert headline.headline(found, LABEL) .count("FT") == 1
    assert re.findall(r"\bFT\b|\bFF\b|\bCOPY\b", headline.headline(found, LABEL)) == ["FT", "FF"]  # FF is ready at once


def test_the_time_an_answer_takes_stands_beside_what_is_ready_at_once(tmp_path):
    _, found = of(tmp_path, ft_first, seconds={"ft": 9.0, "ff": 0.02})
    assert found[1].seconds == 9 and found[1].frame == 0.02
    quick = found[1].quick
    assert quick.method == "ff" and quick.seconds == 0.02
    assert quick.by.value == pytest.approx(-0.1, abs=0.01) and quick.by.high < 0
    assert found[0].gain is None and found[1].gain[:2] == (1, "ssim")
    assert found[1].gain[2].value == pytest.approx(0.06, abs=0.01)


def test_an_answer_that_is_ready_at_once_needs_no_other_and_an_untimed_one_has_none(tmp_path):
    _, micro_batch = of(tmp_path / "a", ft_first, seconds={"ft": 0.5, "ff": 0.02})
    _, untimed = of(tmp_path / "b", ft_first)
    assert {one.quick for one in micro_batch + untimed} == {None} and {one.seconds for one in untimed} == {None}


def test_a_floor_is_never_the_answer_but_it_is_said_where_it_scores_better(tmp_path):
    _, found = of(tmp_path, ft_first)
    assert {one.method for one in found} == {"ft"}
    assert [one.floors for one in found] == [[("copy", "ssim"), ("copy", "fd_efflite0")]] * 3


def test_methods_that_score_alike_are_called_open(tmp_path):
    _, found = of(tmp_path, lambda column, method, t: 0.5, methods=("tf", "ft"))  # their made-up noise is the same
    assert {one.sure for one in found} == {headline.OPEN} and {(one.won, one.lost, one.undecided) for one in found} == {(0, 0,
                                                                                                                         2)}
    assert not re.search("FT|TF", headline.headline(found, LABEL)) and "T = 1" in headline.headline(found[:1], LABEL)


@pytest.mark.parametrize("tally, sure", [((9, 0, 0, 9), "clear"), ((8, 0, 1, 9), "likely"), ((7, 1, 1, 7), "likely"),
                                         ((5, 4, 0, 4), "open"), ((2, 2, 5, 9), "open"), ((0, 0, 9, 9), "open"),
                                         ((0, 0, 0, 0), "open")])
def test_what_is_not_decided_or_decided_against_it_makes_an_answer_less_sure(tally, sure):
    assert headline._sure(*tally) == sure


def test_each_t_has_its_own_answer_and_a_column_against_it_makes_it_less_sure(tmp_path):
    def quality(column, method, t):
        """FF is better at T = 1; at T = 8 FT is in SSIM, FF in the distance."""
        ahead = {"ft": t > 1, "ff": t == 1}[method] if column == "ssim" else {"ft": False, "ff": True}[method]
        return 0.5 + 0.1 * ahead if column == "ssim" else 1.0 - 0.3 * ahead

    _, found = of(tmp_path, quality, methods=("ff", "ft"), shots=(1, 8))
    assert (found[0].method, found[0].sure) == ("ff", headline.CLEAR)
    assert (found[1].won, found[1].lost, found[1].sure) == (1, 1, headline.OPEN)
    assert re.findall(r"FF|FT|T = \d", headline.headline(found, LABEL)) == ["FF", "T = 1", "T = 8"]


def test_a_method_that_sees_the_frame_to_be_drawn_is_held_against_the_others_but_never_the_answer(tmp_path):
    results, _ = of(tmp_path, ft_first, methods=("ff", "ft"))
    for t in results.shots:
        folder = results.folder("sample", "ft", t)
        body = read_manifest(folder)
        write_manifest(folder, "score", {k: v for k, v in body.items() if k not in ("schema", "kind", "files")} | {
            "driven_by": "frames"})
    found = headline.answers(Compared(results, "sample", None))
    assert {one.method for one in found} == {"ff"} and {(one.won, one.lost, one.sure) for one in found} == {(0, 2,
                                                                                                             headline.OPEN)}


def test_one_method_alone_is_no_answer_and_neither_is_nothing(tmp_path):
    assert of(tmp_path, ft_first, methods=("copy", "ft"))[1] == []
    results = made_results.results(tmp_path / "none", ft_first, methods=())
    assert headline.answers(Compared(results, "sample", None)) == []


def test_a_lead_is_written_with_its_sign_and_its_interval():
    assert headline.by(Difference(0.1012, 0.0201, 0.1823, 0.1, 4, 8)) == "+0.101 [0.020, 0.182]"
    assert headline.by(Difference(-38.8, -69.2, -8.5, 0.1, 4, 8)) == "−38.8 [−69.2, −8.5]"
    assert headline.by(Difference(0.5, math.nan, math.nan, 0.1, 1, 8)) == "+0.500"
    assert headline.shots([1]) == "T = 1" and headline.shots([1, 8, 32]) == "T = 1, 8 and 32"
