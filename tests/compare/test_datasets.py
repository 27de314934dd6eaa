from pathlib import Path

from lenet_pl.compare.datasets import tell_apart
from lenet_pl.compare.run import Run


def run(place: str, data: str, digest: str | None, kind: str = "folder") -> Run:
    made = Run(Path(place), {"data": data, **({"data_digest": digest} if digest else {})})
    made.__dict__["settings"] = {"data": {"name": kind}}
    return made


def test_sets_of_one_name_get_names_of_their_own() -> None:
    runs = [
        run("a", "cats", "1" * 64),
        run("b", "cats", "2" * 64),
        run("c", "cats", "1" * 64),
        run("d", "dogs", "3" * 64),
    ]
    told, notes = tell_apart(runs)
    assert [one.results["data"] for one in told] == ["cats 11111111", "cats 22222222", "cats 11111111", "dogs"]
    assert notes == [
        "cats: 2 different datasets have this name and are listed separately: cats 11111111 (2 runs), "
        "cats 22222222 (1 run)"
    ]
    assert [one.results["data"] for one in runs] == ["cats", "cats", "cats", "dogs"]  # they may be looked at again


def test_runs_without_a_record_are_noted_and_never_averaged_with_one_of_several() -> None:
    known, silent = run("a", "cats", "1" * 64), run("b", "cats", None)
    words = "cats: 1 run of an earlier version did not record the images; whether they are the same is unknown"
    assert tell_apart([known, silent]) == ([known, silent], [words])
    told, notes = tell_apart([known, silent, run("c", "cats", "2" * 64)])
    assert [one.results["data"] for one in told] == ["cats 11111111", "cats, not recorded", "cats 22222222"]
    assert words in notes


def test_published_sets_and_a_single_run_need_no_note() -> None:
    runs = [run("a", "mnist", None, "mnist"), run("b", "mnist", None, "mnist"), run("c", "cats", None)]
    assert tell_apart(runs) == (runs, [])
