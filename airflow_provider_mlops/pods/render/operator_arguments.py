"""A pod as arguments of KubernetesPodOperator.

That operator merges its arguments over ``full_pod_spec`` by rules that lose things: maps and lists replace each
other, ``False`` gives way to ``True``, containers are matched by position. So each field is given on one side
only: as an argument where the operator renders Jinja or insists on a value of its own, else in ``full_pod_spec``.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import timedelta
from typing import Any, Final

from airflow_provider_mlops.pods.errors import RecipeInvalid
from airflow_provider_mlops.pods.merge import BASE
from airflow_provider_mlops.pods.render.models import to_container, to_pod
from airflow_provider_mlops.pods.render.templates import refuse_templates

_WHY: Final = "KubernetesPodOperator renders no Jinja there"
#: Fields of the main container that become arguments.
_CONTAINER: Final = {
    "command": "cmds",
    "args": "arguments",
    # The operator's default would replace whatever full_pod_spec says.
    "terminationMessagePolicy": "termination_message_policy",
}
_METADATA: Final = {"labels": "labels", "annotations": "annotations"}
_SPEC: Final = {
    "nodeSelector": "node_selector",
    # The operator also deletes the pod with it.
    "terminationGracePeriodSeconds": "termination_grace_period",
}


def operator_arguments(pod: Mapping[str, Any], startup_timeout: timedelta) -> dict[str, Any]:
    """Keyword arguments for KubernetesPodOperator, without ``task_id`` and ``namespace``.

    The pod's specification is kept out of the exception text (it holds variables), and the events of a failed pod are
    logged, since the pod is gone afterwards.

    :raises RecipeInvalid: an unknown field, Jinja where it is not rendered, or a restart policy.
    """
    to_pod(pod)
    rest = deepcopy(dict(pod))
    spec = rest["spec"]
    if spec.pop("restartPolicy", "Never") != "Never":
        raise RecipeInvalid("spec.restartPolicy is not Never, but KubernetesPodOperator always sets Never")
    container = next(each for each in spec["containers"] if each["name"] == BASE)
    arguments: dict[str, Any] = {
        "base_container_name": BASE,
        "startup_timeout_seconds": int(startup_timeout.total_seconds()),
        "log_events_on_failure": True,
        "log_pod_spec_on_failure": False,
        "image": container.pop("image"),
    }
    moved = {name: container.pop(name) for name in ("env", "resources") if name in container}
    rendered = to_container({"name": BASE, **moved})
    arguments.update(env_vars=rendered.env, container_resources=rendered.resources)
    for part, names in ((container, _CONTAINER), (rest.get("metadata", {}), _METADATA), (spec, _SPEC)):
        arguments.update({names[name]: part.pop(name) for name in names if name in part})
    refuse_templates(rest, _WHY)
    return {
        **{name: value for name, value in arguments.items() if value is not None},
        "full_pod_spec": to_pod(rest),
    }
