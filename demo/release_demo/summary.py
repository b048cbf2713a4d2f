"""What the demo made, in words a person understands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from release_demo.settings import SERVICE, Settings, uri


def summary(
    settings: Settings,
    results: Mapping[str, Any],
    answers: Sequence[Mapping[str, Any]],
    *,
    previous: str | None,
    seconds: float,
) -> str:
    """The closing text.

    :param results: what each task of the release DAG returned.
    :param answers: what the served versions said, in order.
    :param previous: the release that was live before this run, and is again.
    :param seconds: since the command was started.
    """
    model, pipeline, bento = results["train"], results["publish"], results["build"]
    image, index, release = results["tag"], results["index"], results["release"]
    gate = index["gate"] or {}
    rows = [
        ("model", f"accuracy {model['accuracy']:.2f} on {model['tested_on']} held-out texts "
                  f"(features: {model['features']}){_again(model)}"),
        ("Bento", f"{bento['tag']}, {bento['size'] / 1e6:.1f} MB{_again(bento)}"),
        ("pipeline", f"{pipeline['url']}: {pipeline['status']} in {pipeline['duration'] or 0:.0f} s"),
        ("image", f"{image['digest'][:19]}..., tags {', '.join(image['tags'])}{_again(image)}"),
        ("", "Bento image (files only, no operating system): mountable, not runnable"),
        ("index", f"{index['index']} {index['version']}: {index['documents']} texts, {index['added']} added, "
                  f"{index['unchanged']} unchanged"),
        ("gate", _gate(gate)),
        ("release", f"{release['release_id']} in channel {release['channel']}"
                    + (f", after {release['previous_release_id']}" if release["previous_release_id"] else "")),
    ]  # fmt: skip
    first = answers[0]
    rows += [
        (
            "answers",
            f"release {first['about']['release']}, Bento {first['version']}, index {first['about']['index']}",
        ),
        ("", f"predict -> {first['module']}; search -> {_found(first)}"),
    ]
    if len(answers) > 1:
        again = answers[1]
        rows += [
            ("rolled back", f"release {again['about']['release']}, Bento {again['version']} answers again"),
            ("", f"predict -> {again['module']}; search -> {_found(again)}"),
        ]
    lines = ["", f"{SERVICE} is released.", ""]
    lines += [f"  {name:12}{text}" for name, text in rows]
    lines += ["", f"It took {seconds:.0f} s.", "", *_next(settings, release, previous)]
    return "\n".join(lines)


def _next(settings: Settings, release: Mapping[str, Any], previous: str | None) -> list[str]:
    rollback = "demo/airflow dags test rollback"
    ledger = shlex.quote(uri(settings.releases))
    lines = [
        "Look around:",
        "  demo/airflow standalone        (Airflow with both DAGs on http://localhost:8080, no login)",
    ]
    lines += [f"  {_program(settings)} release list {SERVICE} --ledger {ledger}"]
    if previous:
        lines += [
            "Roll forward to the new release:",
            f'  {rollback} --conf \'{{"to": "{release["release_id"]}"}}\'',
        ]
    else:
        lines += [
            "Roll back, once there is a second release (make demo again makes one, and rolls it back):",
            f"  {rollback}",
        ]
    return lines


def _program(settings: Settings) -> str:
    python = settings.root / "venv" / "bin" / "python"
    with_cwd = Path.cwd()
    shown = python.relative_to(with_cwd) if python.is_relative_to(with_cwd) else python
    return f"{shlex.quote(str(shown))} -m airflow_provider_mlops"


def _again(result: Mapping[str, Any]) -> str:
    return " (reused: nothing changed)" if result.get("reused") else ""


def _gate(gate: Mapping[str, Any]) -> str:
    if not gate:
        return "not asked: the index did not change"
    plain = {name: value for name, value in gate.items() if isinstance(value, bool | int | float)}
    return ", ".join(f"{name} {value}" for name, value in plain.items())


def _found(answer: Mapping[str, Any]) -> str:
    hits = answer["found"]
    return f"{hits[0]['id']} (score {hits[0]['score']})" if hits else "nothing"
