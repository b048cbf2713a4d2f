"""What Airflow is told about this package: connection types, configuration, links, asset URIs, commands.

Loaded on every ``import airflow`` from 3.2 on, so it imports nothing of Airflow and nothing heavy.
Airflow 3.3 reads ``conn-fields`` and ``ui-field-behaviour`` from here; 2.11 and 3.1 ask the hooks,
which build their forms from the same data (:mod:`airflow_provider_mlops.base.hook`).
"""

from __future__ import annotations

from typing import Any

from airflow_provider_mlops import __version__

#: Options of the ``[mlops]`` section; Airflow requires every one of these keys.
CONFIG_OPTIONS: dict[str, dict[str, Any]] = {
    "namespace": {
        "description": "Name of this Airflow installation. It is part of every job key, so two "
        "installations may share a GitLab project, a registry or a cluster.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "prod-eu",
        "default": "airflow",
    },
    "artifacts": {
        "description": "URI of a folder that all workers share (file:// or any ObjectStoragePath scheme): "
        "Bento archives, release records, embedding caches. Operators that write there say so.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "s3://aws_default@ml-artifacts/airflow",
        "default": "",
    },
    "poll_interval": {
        "description": "Seconds between two looks at a remote job, unless the operator says otherwise.",
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "15",
    },
    "error_budget": {
        "description": "Seconds for which the remote may be unreachable before a waiting task fails.",
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "600",
    },
    "retry_after_cap": {
        "description": "The longest Retry-After, in seconds, that is obeyed.",
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "300",
    },
}


def _text(label: str, description: str = "", **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


def _flag(label: str, description: str = "", *, default: bool = False) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": "boolean", "default": default}}


#: Connection types of our own. Kubernetes and Weaviate use the official providers' types unchanged.
#: The main secret sits in ``password``; every other secret has a name that Airflow masks.
CONNECTION_TYPES: list[dict[str, Any]] = [
    {
        "connection-type": "gitlab",
        "hook-class-name": "airflow_provider_mlops.gitlab.hook.GitlabHook",
        "hook-name": "GitLab",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "login", "port", "extra"],
            "relabeling": {"host": "GitLab URL", "password": "Access token"},
            "placeholders": {"host": "https://gitlab.example.com"},
        },
        "conn-fields": {
            "trigger_token": _text(
                "Trigger token",
                "Only for operators with use_trigger_token=True; it can start pipelines, not read them.",
                format="password",
            ),
            "ca_path": _text("CA bundle", "Path of a CA bundle on workers and triggerers."),
            "verify_tls": _flag("Verify TLS", default=True),
            "allow_http": _flag("Allow http", "Send the token over plain http."),
        },
    },
    {
        "connection-type": "oci_registry",
        "hook-class-name": "airflow_provider_mlops.oci.hook.OciRegistryHook",
        "hook-name": "OCI registry",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port", "extra"],
            "relabeling": {"host": "Registry host, or folder of OCI layouts"},
            "placeholders": {"host": "registry.example.com, or file:///srv/images"},
        },
        "conn-fields": {
            "ca_path": _text("CA bundle", "Path of a CA bundle on workers."),
            "verify_tls": _flag("Verify TLS", default=True),
            "allow_http": _flag(
                "Allow http", "Talk plain http (always allowed for 127.0.0.1 and localhost)."
            ),
        },
    },
    {
        "connection-type": "lancedb",
        "hook-class-name": "airflow_provider_mlops.vector.hook.LanceHook",
        "hook-name": "LanceDB",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "login", "port", "extra"],
            "relabeling": {"host": "URI", "password": "Storage secret key (aws_secret_access_key)"},
            "placeholders": {"host": "/srv/lance, or s3://bucket/lance"},
        },
        "conn-fields": {
            "storage_options": _text(
                "Storage options",
                "JSON object passed to LanceDB (endpoint, region, aws_access_key_id, ...). Airflow shows it to "
                "whoever may read connections: the secret key belongs into the password.",
            ),
        },
    },
    {
        "connection-type": "mlflow",
        "hook-class-name": "airflow_provider_mlops.mlflow.hook.MlflowHook",
        "hook-name": "MLflow",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port", "extra"],
            "relabeling": {"host": "Tracking URI", "password": "Password, or token (without a login)"},
            "placeholders": {"host": "https://mlflow.example.com"},
        },
        "conn-fields": {
            "ca_path": _text("CA bundle", "Path of a CA bundle on workers."),
            "verify_tls": _flag("Verify TLS", default=True),
            "allow_http": _flag("Allow http", "Send the password over plain http."),
        },
    },
]

#: Schemes of the assets that stations emit.
ASSET_SCHEMES = ("oci", "bento", "vectorindex", "release")


def get_provider_info() -> dict[str, Any]:
    """Entry point ``apache_airflow_provider``."""
    return {
        "package-name": "airflow-provider-mlops",
        "name": "MLOps",
        "description": "From a training task to a healthy, reversible release.",
        "versions": [__version__],
        "connection-types": CONNECTION_TYPES,
        "config": {
            "mlops": {
                "description": "Settings of airflow-provider-mlops.",
                "options": CONFIG_OPTIONS,
            },
        },
        "extra-links": [
            "airflow_provider_mlops.external_job.links.RemoteJobLink",
            "airflow_provider_mlops.gitlab.links.GitlabJobLink",
        ],
        "notifications": [
            "airflow_provider_mlops.gitlab.notifiers.GitlabCommitStatusNotifier",
            "airflow_provider_mlops.gitlab.notifiers.GitlabMergeRequestCommentNotifier",
        ],
        # "factory" must be absent rather than None: None breaks the ProvidersManager of 3.1 and 3.3.
        "asset-uris": [
            {"schemes": [scheme], "handler": "airflow_provider_mlops.base.asset_uris.normalise"}
            for scheme in ASSET_SCHEMES
        ],
        "dataset-uris": [
            {"schemes": [scheme], "handler": "airflow_provider_mlops.base.asset_uris.normalise"}
            for scheme in ASSET_SCHEMES
        ],
        "cli": ["airflow_provider_mlops.cli.commands.get_provider_cli_commands"],
    }
