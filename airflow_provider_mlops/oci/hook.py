"""Airflow's door to images: a connection of type ``oci_registry``."""

from __future__ import annotations

from typing import Any

from airflow_provider_mlops.base.hook import MlopsHook
from airflow_provider_mlops.oci.image_store import ImageStore
from airflow_provider_mlops.oci.reference import LAYOUT_SCHEME, Reference
from airflow_provider_mlops.oci.stores import check_location, location_of, open_store


class OciRegistryHook(MlopsHook):
    """Opens repositories of a registry, or of a folder of OCI image layouts.

    :param oci_conn_id: connection of type ``oci_registry``: its host is the registry's host, or
        ``file:///folder`` with one layout folder for each repository.
    """

    conn_name_attr = "oci_conn_id"
    default_conn_name = "oci_registry_default"
    conn_type = "oci_registry"
    hook_name = "OCI registry"

    def __init__(self, oci_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.oci_conn_id = oci_conn_id

    def reference(self, text: str) -> Reference:
        """Read an image reference or repository; without a host it lies in the connection's registry.

        The connection is read only if it is needed: ``file:///...`` needs none.

        :raises InvalidReference: not a reference.
        """
        if text.startswith(LAYOUT_SCHEME):
            return Reference.parse(text)
        return Reference.parse(text, location=location_of(self.info))

    def store(self, reference: Reference | str) -> ImageStore:
        """Open the repository of a reference.

        :raises ConnectionMissing: there is no such connection, and the repository lies in a registry.
        :raises InvalidReference: the repository lies in another registry than the connection.
        """
        parsed = self.reference(reference) if isinstance(reference, str) else reference
        return open_store(parsed, None if parsed.is_layout else self.info)

    def check(self) -> str:
        """See :class:`MlopsHook`."""
        return f"{check_location(self.info)} answers"
