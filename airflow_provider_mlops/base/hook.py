"""Base of every hook: connections as plain data, typed errors, and one source for the connection forms."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

from airflow_provider_mlops.compat import (
    AirflowNotFoundException,
    BaseHook,
    Connection,
    aget_connection,
    get_connection,
)
from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete, ConnectionMissing, MlopsError
from airflow_provider_mlops.get_provider_info import CONNECTION_TYPES


def _info(connection: Connection, conn_id: str) -> ConnectionInfo:
    try:
        extra = json.loads(connection.extra) if connection.extra else {}
    except ValueError as error:
        raise ConnectionIncomplete(f"Connection {conn_id!r}: extra is not JSON", conn_id=conn_id) from error
    return ConnectionInfo(
        conn_id=conn_id,
        host=connection.host or None,
        schema=connection.schema or None,
        login=connection.login or None,
        password=connection.password or None,
        port=connection.port,
        extra=extra,
    )


def _missing(conn_id: str) -> ConnectionMissing:
    return ConnectionMissing(f"Airflow connection {conn_id!r} does not exist", conn_id=conn_id)


def connection_info(conn_id: str) -> ConnectionInfo:
    """Read a connection in a worker.

    :raises ConnectionMissing: there is none of that name.
    :raises ConnectionIncomplete: its extra is not JSON.
    """
    try:
        return _info(get_connection(conn_id), conn_id)
    except AirflowNotFoundException as error:
        raise _missing(conn_id) from error


async def aconnection_info(conn_id: str) -> ConnectionInfo:
    """Read a connection in a triggerer. Raises as :func:`connection_info`."""
    try:
        return _info(await aget_connection(conn_id), conn_id)
    except AirflowNotFoundException as error:
        raise _missing(conn_id) from error


class MlopsHook(BaseHook, ABC):
    """Base of the hooks whose connection type is ours.

    Airflow 3.3 draws the connection form from the provider info; 2.11 and 3.1 call the two methods
    below, which build the same form from the same data.
    """

    conn_name_attr = "conn_id"
    conn_type: str
    hook_name: str
    default_conn_name: str

    @property
    def info(self) -> ConnectionInfo:
        """The connection as plain data."""
        return connection_info(getattr(self, self.conn_name_attr))

    @abstractmethod
    def check(self) -> str:
        """Ask the remote something harmless with the connection's credentials; return what answered.

        :raises MlopsError: why the connection does not work.
        """

    def test_connection(self) -> tuple[bool, str]:
        """Called by the *Test* button of the connection form."""
        try:
            return True, self.check()
        except MlopsError as error:
            return False, str(error)

    @classmethod
    def _declared(cls) -> dict[str, Any]:
        return next(entry for entry in CONNECTION_TYPES if entry["connection-type"] == cls.conn_type)

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Fields of the connection form (Airflow before 3.3). Its form libraries are imported here, not above."""
        from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
        from wtforms import BooleanField, PasswordField, StringField

        widgets: dict[str, Any] = {}
        for name, spec in cls._declared()["conn-fields"].items():
            schema, label = spec["schema"], spec["label"]
            if schema["type"] == "boolean":
                widgets[name] = BooleanField(
                    label, default=schema["default"], description=spec["description"]
                )
            elif schema.get("format") == "password":
                widgets[name] = PasswordField(
                    label, widget=BS3PasswordFieldWidget(), description=spec["description"]
                )
            else:
                widgets[name] = StringField(
                    label, widget=BS3TextFieldWidget(), description=spec["description"]
                )
        return widgets

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Hidden and renamed fields of the connection form (Airflow before 3.3)."""
        declared = cls._declared()["ui-field-behaviour"]
        return {
            "hidden_fields": declared["hidden-fields"],
            "relabeling": declared["relabeling"],
            "placeholders": declared["placeholders"],
        }
