"""A cluster profile: where it is looked for, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import read_profile
from orchestrator.config.profile import BUILT_IN, profiles
from orchestrator.errors import InputError
from orchestrator.preflight import read_checked_profile

MINE = 'scheduler = "slurm"\nshared_dir = "."\ngpus = 1\nwalltime_min = 5\nmax_jobs = 3\n'


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own profiles."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "orchestrator" / "profiles"
    folder.mkdir(parents=True)
    return folder


def write(path: Path, text: str = MINE) -> Path:
    path.write_text(text)
    return path


def problem_of(name: str | Path) -> str:
    with pytest.raises(InputError) as refused:
        read_profile(str(name))
    [problem] = refused.value.problems
    return problem


@pytest.mark.parametrize("name", sorted(path.stem for path in BUILT_IN.glob("*.toml")))
def test_every_built_in_profile_is_right_and_described(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORK", "/lustre/me")  # Jean Zay sets it
    profile, path = read_checked_profile(name)
    assert path == BUILT_IN / f"{name}.toml"
    assert profile.description


def test_the_users_own_profile_hides_a_built_in_one(own: Path) -> None:
    mine = write(own / "local.toml")
    profile, path = read_profile("local")
    assert (path, profile.scheduler) == (mine, "slurm")
    assert dict(profiles())["local"] == mine


def test_a_path_is_taken_as_it_is(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(own / "mine.toml")
    beside = write(tmp_path / "mine.toml")
    monkeypatch.chdir(tmp_path)
    assert read_profile(str(beside))[1] == beside
    assert read_profile("mine.toml")[1] == Path("mine.toml")
    assert read_profile("mine")[1] == own / "mine.toml"


def test_without_xdg_the_users_own_are_in_his_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config" / "orchestrator" / "profiles"
    folder.mkdir(parents=True)
    write(folder / "mine.toml")
    assert read_profile("mine")[1] == folder / "mine.toml"


def test_an_unknown_profile_gets_the_nearest_one_and_where_to_write_it(own: Path) -> None:
    problem = problem_of("grid5000-chuk")
    assert 'unknown profile "grid5000-chuk"; did you mean "grid5000-chuc"?' in problem
    assert str(own / "grid5000-chuk.toml") in problem


def test_an_unknown_profile_near_none_gets_all_there_are() -> None:
    known = ", ".join(sorted(path.stem for path in BUILT_IN.glob("*.toml")))
    assert f"known: {known}" in problem_of("xyz")


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "none.toml") == f"{tmp_path}/none.toml: no such file"


@pytest.mark.parametrize(
    "shared", ["$NOWHERE/runs", "${NOWHERE}/runs", "/a/$NOWHERE", "$HOME/${NOWHERE}x/$A"]
)
def test_a_variable_that_is_not_set_is_named_with_its_line(tmp_path: Path, shared: str) -> None:
    path = write(tmp_path / "mine.toml", MINE.replace('"."', f'"{shared}"'))
    assert problem_of(path).startswith(f"{path}:2: shared_dir: $NOWHERE is not set")


def test_variables_and_home_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.setenv("HOME", "/home/me")
    for shared, runs in {"$SCRATCH/a": "/scratch/me/a/runs", "~/a": "/home/me/a/runs"}.items():
        path = write(tmp_path / "mine.toml", MINE.replace('"."', f'"{shared}"'))
        assert str(read_profile(str(path))[0].runs_path) == runs


def test_a_relative_directory_starts_at_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    profile, _ = read_profile(str(write(tmp_path / "mine.toml")))
    assert (profile.runs_path, profile.cache_path) == (tmp_path / "runs", tmp_path / "cache")


def test_every_mistake_is_in_one_report(tmp_path: Path) -> None:
    text = (
        'schedular = 1\nscheduler = "pbs"\nshared_dir = "."\ngpus = -1\nmax_jobs = 0\n[options]\nmem = 1.5\n'
    )
    path = write(tmp_path / "mine.toml", text)
    with pytest.raises(InputError) as refused:
        read_profile(str(path))
    expected = {
        f"{path}:1: schedular: unknown key": 'did you mean "scheduler"?',
        f"{path}:2: scheduler: input should be": "'local', 'slurm' or 'oar', got 'pbs'",
        f"{path}:4: gpus: input should be": "got -1",
        f"{path}:5: max_jobs: input should be": "got 0",
        f"{path}:7: options.mem: input should be": "got 1.5",
        f"{path}: walltime_min: is missing": "",
    }
    problems = sorted(refused.value.problems)
    found = {
        start: [p for p in problems if p.startswith(start) and p.endswith(end)]
        for start, end in expected.items()
    }
    assert len(problems) == len(expected)
    assert all(found.values())


def test_the_wall_time_has_no_silent_default(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", MINE.replace("walltime_min = 5\n", ""))
    assert problem_of(path) == f"{path}: walltime_min: is missing: give it a value"
