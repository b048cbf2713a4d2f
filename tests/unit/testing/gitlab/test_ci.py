"""From .gitlab-ci.yml to planned jobs, without running anything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mlops.testing.gitlab import ci_plan, ci_rules, statuses
from airflow_provider_mlops.testing.gitlab.artifacts import ReportError, collect, parse_dotenv
from airflow_provider_mlops.testing.gitlab.ci_variables import expand, expand_all, slug
from airflow_provider_mlops.testing.gitlab.specs import ConfigError, Need


def _plan(text: str, files: dict[str, str] | None = None, inputs: Any = None, **variables: str):
    files = files or {}
    context = ci_plan.PlanContext(
        predefined={"CI_PIPELINE_SOURCE": "api", "CI_COMMIT_BRANCH": "main"},
        variables=variables,
        inputs=inputs or {},
        read=files.get,
        files=lambda: list(files),
    )
    return ci_plan.plan(text, context)


def _refusal(text: str, **keywords: Any) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        _plan(text, **keywords)
    return refused.value.messages


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('$A == "x"', True),
        ("$A != 'x'", False),
        ("$A", True),
        ("$EMPTY", False),
        ("$EMPTY == null", False),
        ("$NONE == null", True),
        ("$NONE", False),
        ("$A =~ /^X$/i", True),
        ("$A !~ /^X$/", True),
        ("$A =~ $PATTERN", True),
        ("$NONE =~ /x/", False),
        (r"$PATH =~ /^a\/b/", True),
        ('$A == "x" && $NONE || $A', True),
        ('$A || $NONE && $NONE == "y"', True),
        ('($A || $NONE) && $NONE == "y"', False),
        ('!($A == "x")', False),
        ("$A == $B", True),
        ('${A} == "x"', True),
    ],
)
def test_expressions(expression, expected):
    variables = {"A": "x", "B": "x", "EMPTY": "", "PATTERN": "/x/", "PATH": "a/b"}

    assert ci_rules.holds(expression, variables) is expected


@pytest.mark.parametrize("expression", ["", "$A ==", "== $A", "$A $B", "($A", "$A = 'x'", "$A =~ /(/"])
def test_broken_expressions_are_refused(expression):
    with pytest.raises(ConfigError, match="invalid expression syntax"):
        ci_rules.holds(expression, {"A": "x"})


def test_the_first_matching_rule_decides():
    text = """\
one:
  script: a
  variables: {V: job}
  rules:
    - {if: $CI_PIPELINE_SOURCE == "push"}
    - {if: $GO == "1", when: manual, allow_failure: true, variables: {V: rule}}
    - {exists: ["data/*.csv"], changes: [never.txt]}
other: {script: b}
"""
    assert [job.name for job in _plan(text).jobs] == ["other"]
    manual = _plan(text, GO="1").jobs[0]
    assert (manual.when, manual.allow_failure, manual.variables["V"]) == ("manual", True, "rule")
    assert _plan(text, {"data/x.csv": ""}).jobs[0].when == "on_success"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Please provide content"),
        ("a: [", "Invalid configuration format"),
        ("a: 3", "jobs:a config should be a hash"),
        ("a: {stage: test}", "should implement the script:"),
        ("a: {script: x, stage: nowhere}", "chosen stage nowhere does not exist"),
        ("a: {script: x, only: [main]}", "contains unknown keys: only"),
        ("a: {script: x, when: later}", "when should be one of"),
        ("a: {script: x, needs: [b]}", "undefined need: b"),
        ("a: {script: x, needs: [b]}\nb: {script: x, when: never}", "'b' does not exist in the pipeline"),
        ("a: {script: x, needs: [b]}\nb: {script: x, needs: [a]}", "circular dependencies"),
        ("a: {script: x, extends: .b}\n.b: {extends: a}", "circular dependency detected in `extends`"),
        ("a: {script: x, when: never}", "prevented any jobs"),
        ("a: {script: x, stage: .pre}", "prevented any jobs"),
        ("workflow: {rules: [{when: never}]}\na: {script: x}", "filtered out by workflow rules"),
        ("include: gone.yml\na: {script: x}", "Local file `gone.yml` does not exist"),
        ("include: {project: x, file: y}\na: {script: x}", "can only include local files"),
        ("a: {script: [!reference [.b, script]]}", "could not be found"),
        ("a: {script: '$[[ inputs.x ]]'}", "unknown interpolation provided: `x`"),
    ],
)
def test_refusals(text, message):
    assert message in _refusal(text)[0]


def test_extends_default_include_and_references_come_together():
    text = """\
include: [{local: /ci/base.yml, inputs: {word: hi}}]
default: {before_script: [first], retry: 1}
.snippets: {script: [x, y]}
a:
  extends: [.one, .two]
  script: [!reference [.snippets, script], z]
  variables: {C: 3}
b: {extends: .two, inherit: {default: false}, script: w}
"""
    base = "spec: {inputs: {word: {}}}\n---\n.one: {variables: {A: 1, B: 1}}\n.two: {variables: {B: '$[[ inputs.word ]]'}}\n"
    a, b = _plan(text, {"ci/base.yml": base}).jobs

    assert a.script == ("first", "x", "y", "z")
    assert a.variables == {"A": "1", "B": "hi", "C": "3"}
    assert (a.retry.max, b.retry.max, b.script) == (1, 0, ("w",))


def test_inputs_keep_their_type_alone_and_become_text_inside_text():
    text = """\
spec:
  inputs:
    names: {type: array, default: [p, q]}
    n: {type: number}
    flag: {type: boolean, default: true}
    word: {default: abcdef}
---
a:
  parallel: $[[ inputs.n ]]
  script: $[[ inputs.names ]]
  variables: {T: "$[[ inputs.flag ]]-$[[ inputs.n ]]-$[[ inputs.names ]]-$[[ inputs.word | truncate(1,3) ]]"}
"""
    jobs = _plan(text, inputs={"n": "2"}).jobs

    assert [job.name for job in jobs] == ["a 1/2", "a 2/2"]
    assert jobs[0].script == ("p", "q")
    assert jobs[0].variables["T"] == 'true-2-["p", "q"]-bcd'


def test_workflow_names_and_variables():
    plan = _plan(
        "variables: {V: {value: a, description: d}, W: $V-b}\n"
        "workflow: {name: 'run $W $KEY', rules: [{if: $KEY, variables: {X: y}}]}\n"
        "a: {script: x}\n",
        KEY="k1",
    )

    assert plan.name == "run a-b k1"
    assert plan.variables == {"V": "a", "W": "$V-b", "X": "y"}


def test_needs_follow_copies_and_may_be_optional():
    jobs = _plan(
        "a: {script: x, parallel: 2}\nb: {script: x, needs: [a, {job: c, optional: true}]}\n"
        "c: {script: x, when: never}\n"
    ).jobs

    assert jobs[2].needs == (Need("a 1/2"), Need("a 2/2"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1h 30m", 5400), ("10 minutes", 600), ("0.5 seconds", 0.5), (90, 90), ("1 day", 86400), ("45", 45)],
)
def test_durations(text, expected):
    assert ci_plan.seconds(text) == expected


def test_variables_refer_to_each_other_and_loops_end():
    assert expand_all({"A": "$B!", "B": "${C}", "C": "c", "L": "$M", "M": "$L", "U": "$UNKNOWN"}) == {
        "A": "c!",
        "B": "c",
        "C": "c",
        "L": expand_all({"L": "$M", "M": "$L"})["L"],
        "M": expand_all({"L": "$M", "M": "$L"})["M"],
        "U": "$UNKNOWN",
    }
    assert expand("$$x ${A}$B", {"A": "1"}) == "$x 1"
    assert slug("Feature/Über--") == "feature--ber"


@given(st.dictionaries(st.sampled_from("ABCD"), st.text("$ABCD{}x", max_size=12), max_size=4))
def test_expansion_always_ends(variables):
    assert expand_all(variables).keys() == variables.keys()


@pytest.mark.parametrize(
    ("jobs", "status"),
    [
        ([("success", False), ("failed", True)], "success"),
        ([("success", False), ("failed", False)], "failed"),
        ([("success", False), ("manual", True)], "success"),
        ([("success", False), ("manual", False), ("created", False)], "manual"),
        ([("success", False), ("scheduled", False)], "scheduled"),
        ([("created", False)], "created"),
        ([("pending", False), ("created", False)], "pending"),
        ([("success", False), ("pending", False)], "running"),
        ([("failed", False), ("running", False)], "running"),
        ([("success", False), ("created", False)], "running"),
        ([("canceled", False), ("success", False), ("skipped", False)], "canceled"),
        ([("canceled", False), ("failed", False)], "failed"),
        ([("canceling", False), ("canceled", False), ("success", False)], "canceling"),
        ([("skipped", False)], "skipped"),
    ],
)
def test_jobs_add_up(jobs, status):
    assert statuses.combined(jobs) == status


def test_dotenv_rules():
    assert parse_dotenv("A=1\n\nB='q'\nC=a=b\n") == {"A": "1", "B": "'q'", "C": "a=b"}
    with pytest.raises(ReportError, match="more than 20"):
        parse_dotenv("\n".join(f"V{number}=x" for number in range(21)))


def test_artifacts_stay_inside_the_project(tmp_path):
    folder = tmp_path / "project"
    (folder / "out" / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("out/a.txt", "out/deep/b.log", ".git/config", "c.txt"):
        (folder / name).write_text(name)
    (tmp_path / "secret").write_text("x")

    assert set(collect(folder, ["out/"], ["*.log"])) == {"out/a.txt"}
    assert set(collect(folder, ["**/*.txt"])) == {"out/a.txt", "c.txt"}
    assert set(collect(folder, [f"{folder}/out/deep"])) == {"out/deep/b.log"}
    assert set(collect(folder, ["."])) == {"out/a.txt", "out/deep/b.log", "c.txt"}
    assert collect(folder, ["../secret", f"{tmp_path}/secret", "out/../../secret"]) == {}
