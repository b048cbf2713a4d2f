"""What the operators return: one small, flat JSON object each, with ``schema`` and ``kind``.

Large data travels by URI, never through XCom. Identity is a digest or a content hash; names and tags
are labels. A key is only added or removed together with a new ``schema`` number.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

#: Version of every payload's shape.
SCHEMA = 1


class Payload(TypedDict):
    """The part that all payloads share."""

    schema: int
    kind: str


class JobPayload(Payload):
    """A finished (or, with ``wait_for_completion=False``, started) remote job."""

    state: str
    url: str | None


class GitlabPipelinePayload(JobPayload):
    """``kind="gitlab.pipeline"``. Named outputs are further top-level keys of their own.

    ``status`` is GitLab's own word; ``jobs`` counts the jobs by their state; ``warnings`` names failed jobs that
    were allowed to fail; ``tests`` holds the totals of the JUnit reports. Downstream pipelines that the pipeline
    waits for are included. What only a finished pipeline has is ``None`` or empty before.
    """

    status: str
    project: str
    project_id: int
    pipeline_id: int
    ref: str
    sha: str | None
    duration: float | None
    jobs: dict[str, int]
    warnings: list[str]
    tests: dict[str, int] | None


class GitlabCommitPayload(Payload):
    """``kind="gitlab.commit"``: the commit that a branch holds the wanted files with.

    ``changed`` is false if the branch was as wanted already: ``sha`` then is its head, and ``branch`` the branch
    that has the files. ``paths`` are those of all actions, ``url`` is the commit's page.
    """

    project: str
    branch: str
    sha: str
    url: str | None
    changed: bool
    paths: list[str]


class GitlabMergeRequestPayload(JobPayload):
    """``kind="gitlab.merge_request"``: a merge request, usually merged.

    ``status`` is GitLab's own word (``merged``, ``opened``), or ``unchanged`` if there was nothing to merge: then
    there is no ``iid`` and no ``url``. ``sha`` is the head that was merged, ``merge_commit_sha`` the commit by which
    the target branch got it: the merge commit, the squashed one, or after a fast-forward the head itself.
    """

    project: str
    source_branch: str
    target_branch: str
    iid: int | None
    status: str
    sha: str | None
    merge_commit_sha: str | None


class BentoPayload(Payload):
    """``kind="bento"``: a built Bento as an archive at a URI.

    ``models`` maps names to content hashes. ``origins`` says of models that came from a registry which version
    they are (for MLflow: ``reference`` as given, ``tracking_uri``, ``registered_model``, ``version``, ``run_id``,
    ``source``).
    """

    tag: str
    name: str
    version: str
    uri: str
    digest: str
    input_hash: str
    size: int
    models: dict[str, str]
    origins: dict[str, dict[str, str]]
    reused: bool


class ImagePayload(Payload):
    """``kind="oci.image"``: an image in a registry or an OCI layout directory.

    ``image`` is the pinned reference ``repository@sha256:...``; ``runnable`` is false for an image
    that holds the Bento's files only.
    """

    image: str
    repository: str
    digest: str
    tags: list[str]
    channel: str | None
    previous_digest: str | None
    runnable: bool
    reused: bool


class VectorIndexPayload(Payload):
    """``kind="vector.index"``: what a sync or rebuild did, and all that is needed to make the version live later.

    ``version`` names one version of the index (``v3_1f0c9a7e``), ``physical`` what to open in the store: the
    collection in Weaviate, the table in LanceDB (where the version is a tag of it). ``conn_id`` and ``uri``
    say where the store is; neither holds a secret. ``previous_version`` is the one that was live when the
    task ended its work, before it moved anything. The counts are chunks, except ``documents`` and ``bad``
    (records). ``tokens`` are those that a paid embedder was sent, ``cost`` is their price; ``None`` where there is
    no such thing. ``duration`` is in seconds, from the first look at the source on.
    """

    index: str
    backend: str
    conn_id: str | None
    uri: str | None
    version: str
    physical: str
    previous_version: str | None
    active: bool
    action: Literal["built", "synced", "unchanged"]
    fingerprint: str
    documents: int
    chunks: int
    added: int
    updated: int
    deleted: int
    unchanged: int
    bad: int
    embedded: int
    cached: int
    tokens: int | None
    cost: float | None
    healed: int
    dead_letters: str | None
    gate: dict[str, Any] | None
    duration: float


class VectorPlanPayload(Payload):
    """``kind="vector.plan"``: what a run would do, from ``VectorIndexOperator(dry_run=True)``.

    ``action`` and ``reason`` say what and why; ``in_place`` whether readers would see the differences come. ``version``
    would be written (or is good as it is), and the counts compare with ``base_version``; without one everything is new.
    ``tokens`` and ``cost`` are those of the ``to_embed`` texts, ``None`` where the embedder counts none or has no price.
    ``refusals`` are the errors that would end the run before it writes anything: empty means go.
    """

    index: str
    backend: str
    conn_id: str | None
    uri: str | None
    action: Literal["built", "synced", "unchanged"]
    reason: str
    version: str
    base_version: str | None
    live_version: str | None
    in_place: bool
    fingerprint: str
    documents: int
    documents_new: int
    documents_changed: int
    documents_deleted: int
    documents_unchanged: int
    chunks: int
    added: int
    updated: int
    deleted: int
    unchanged: int
    bad: int
    to_embed: int
    tokens: int | None
    cost: float | None
    refusals: list[str]


class VectorShardPlanPayload(Payload):
    """``kind="vector.shard_plan"``: what shards load, how they share it out, and the lease that they work under.

    ``version`` is the one to fill, ``base_version`` the finished one whose vectors are reused. ``by`` says how the
    source is split into ``shards``: whole files, or by the documents' keys. ``holder`` and ``token`` are those of the
    lease; no ``token`` means that there is nothing to load, and ``action`` is ``unchanged``. ``clean`` says that whatever
    wrote the index before has come to its end. The counts are chunks, except ``documents`` and ``bad`` (records);
    ``to_embed``, ``tokens`` and ``cost`` are an estimate for all shards together.
    """

    index: str
    backend: str
    conn_id: str | None
    uri: str | None
    action: Literal["built", "synced", "unchanged"]
    reason: str
    mode: Literal["auto", "sync", "rebuild"]
    version: str
    base_version: str | None
    fingerprint: str
    shards: int
    by: Literal["file", "key"]
    holder: str
    token: str | None
    clean: bool
    documents: int
    chunks: int
    bad: int
    to_embed: int
    tokens: int | None
    cost: float | None


class VectorShardPayload(Payload):
    """``kind="vector.shard"``: what one shard has loaded; ``VectorIndexOperator(loaded=...)`` takes those of all.

    ``version`` to ``clean`` are the plan's. Of its ``chunks`` the shard has ``written`` those that were not there; all
    of them are stored, and found by their own vector. ``smooth`` says that it did so at its first try, with every write
    confirmed at once.
    """

    index: str
    version: str
    mode: Literal["auto", "sync", "rebuild"]
    holder: str
    token: str | None
    clean: bool
    shard: int
    shards: int
    documents: int
    chunks: int
    written: int
    embedded: int
    cached: int
    healed: int
    bad: int
    smooth: bool
    tokens: int | None
    cost: float | None


class VectorMaintenancePayload(Payload):
    """``kind="vector.maintenance"``: what an audit, a rollback or a garbage collection found and did.

    ``version`` is the version that was looked at; for a rollback the one that is live now, for a garbage collection the
    one that was live all the time. ``previous_version`` was live when the task began. ``audit`` has the figures, with
    ``problems``, one line each; ``damaged`` says whether there are any. ``dropped`` names the versions that are gone,
    or would be, with ``dry_run``.
    """

    index: str
    backend: str
    conn_id: str | None
    uri: str | None
    action: Literal["audit", "rollback", "collect_garbage"]
    version: str | None
    physical: str | None
    previous_version: str | None
    damaged: bool
    audit: dict[str, Any] | None
    dropped: list[str]
    dry_run: bool


class PodPayload(JobPayload):
    """``kind="pod"``: a finished training pod; ``result`` is what the container wrote as its result."""

    pod: str
    namespace: str
    result: Any


class ReleasePayload(Payload):
    """``kind="release"``: the identity over model, image, values and index."""

    release_id: str
    service: str
    channel: str
    uri: str
    previous_release_id: str | None
    parts: dict[str, Any]
    action: Literal["release", "rollback", "unchanged"]
