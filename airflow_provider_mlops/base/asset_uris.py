"""Normal form of the asset URIs that stations emit (``oci://``, ``bento://``, ``vectorindex://``, ``release://``)."""

from __future__ import annotations

from urllib.parse import SplitResult


def normalise(uri: SplitResult) -> SplitResult:
    """Lower-case the host part, drop a trailing slash, and refuse an empty name.

    :raises ValueError: nothing is named after the scheme (Airflow expects this type from a handler).
    """
    if not uri.netloc and not uri.path.strip("/"):
        raise ValueError(f"URI {uri.geturl()!r} names nothing after {uri.scheme}://")
    return uri._replace(netloc=uri.netloc.lower(), path=uri.path.rstrip("/"))
