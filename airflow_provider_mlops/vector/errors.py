"""What can go wrong with a vector index."""

from __future__ import annotations

from airflow_provider_mlops.errors import Busy, PermanentError, TemporaryError


class GateRejected(PermanentError):
    """The candidate answers the golden queries worse than the gate demands. The live version was not touched.

    Fields: ``report`` (the figures), ``worst`` (the queries that found nothing expected).
    """

    remedy = "Look at the worst queries above; fix the source, the chunker or the embedder, or lower the gate's floor."


class GoldenQueriesInvalid(PermanentError):
    """The file of golden queries is missing, empty or malformed."""

    remedy = 'Give one JSON object per line: {"query": "...", "expected": ["document key", ...]}.'


class TooManyDeletes(PermanentError):
    """The source lacks more of the indexed documents than ``max_delete_fraction`` allows; nothing was deleted."""

    remedy = (
        "Check that the source is complete; if the deletion is meant, raise max_delete_fraction for this run."
    )


class TooManyBadRecords(PermanentError):
    """More records of the source are unusable than ``max_bad_fraction`` allows; nothing was written."""

    remedy = "Repair the source, or raise max_bad_fraction if leaving these records out is meant."


class SourceUnreadable(TemporaryError):
    """The source could not be read to its end: a connection broke, or a file is damaged or cut off. Nothing was deleted."""

    remedy = (
        "Check that the source is complete and can be read by the worker; a retry reads it from the start."
    )


class SourceChanged(TemporaryError):
    """The source gave other records when it was read the second time; the run stopped before it deleted anything."""

    remedy = "Let the source stand still while it is indexed; a retry plans anew."


class ScratchSpaceExhausted(TemporaryError):
    """The worker's temporary folder is full or cannot be written; the run stopped, and readers see what they saw before."""

    remedy = (
        "Free or enlarge the worker's temporary folder (TMPDIR): a run needs about 300 bytes per chunk there."
    )


class VectorInvalid(PermanentError):
    """An embedder or a source gave a vector with NaN, infinity, all zeros or the wrong dimension; it was not sent.

    Such a vector is accepted by the servers and spoils the answers for its neighbours.
    """

    remedy = "Repair the embedder, or the vectors in the source."


class EmbedderModelMissing(PermanentError):
    """The folder of an embedding model, or a file that it must hold, is not there; nothing was written."""

    remedy = "Put model.onnx and tokenizer.json into the folder, or name the model's file."


class EmbedderModelInvalid(PermanentError):
    """The files of an embedding model are damaged, or are not those of a sentence embedding model; nothing was written."""

    remedy = "Export the model for feature extraction, and copy all of its files again."


class TextTooLong(PermanentError):
    """A text has more tokens than the embedding model reads. It is not cut in silence: what is cut off would not be found."""

    remedy = "Use a chunker whose sizes are in tokens and below the model's limit."


class EmbeddingBudgetExceeded(PermanentError):
    """Embedding what is new would use more tokens or money than ``max_tokens`` or ``max_cost`` allows.

    Checked before the first text is sent; nothing was written. Fields: ``tokens``, ``cost``, ``max_tokens``, ``max_cost``.
    """

    remedy = "Raise the cap if the change is meant; else look at what in the source has changed."


class EmbedderQuotaExhausted(PermanentError):
    """The account at the embedding server has no quota left; waiting does not bring it back."""

    remedy = "Raise the account's quota or pay its bill, then clear the task: what was embedded is not paid for twice where there is an embedding cache."


class EmbedderAnswerInvalid(TemporaryError):
    """The embedding server kept giving answers that are cut off, incomplete or no embeddings at all; none was used."""

    remedy = "Check that the connection's host is the base URL of an OpenAI-compatible API (it usually ends with /v1)."


class ObjectsRefused(PermanentError):
    """The store refused objects for good (type, dimension, unknown property); nothing stale was deleted."""

    remedy = "Compare the records with the index's properties; the message carries the store's words."


class WritesUnconfirmed(TemporaryError):
    """The store did not confirm all writes within the tries allowed; a retry goes on from there."""


class IndexReadOnly(TemporaryError):
    """The store takes no writes for this index: its disk is nearly full, or somebody made it read-only. Readers see what they saw before."""

    remedy = "Free space on the server's disk, then set the collection's shards to READY; a retry goes on from there."


class ChunksUnfindable(TemporaryError):
    """Written chunks are not found by their own vector, even after they and their neighbours were written anew."""

    remedy = (
        "Look at the server's log for index corruption, and run again with mode='rebuild'; "
        "a graph with few links loses chunks by itself: raise the HNSW settings max_connections and ef_construction."
    )


class IndexDamaged(PermanentError):
    """A version does not hold what it should, or holds it where searches do not find it.

    Fields: ``report`` (the figures of the audit).
    """

    remedy = "Run VectorIndexOperator with mode='rebuild', or roll back; on_damage='heal' repairs chunks that are only half-written, or not found."


class LayoutChanged(PermanentError):
    """A version's columns, tokenization or vector index are not as declared: somebody else made or changed it. Nothing was written.

    Fields: ``problems`` (one line each).
    """

    remedy = "Run once with mode='rebuild': it builds a version of its own beside that one."


class IndexFilesDamaged(PermanentError):
    """Files of the index are missing, cut off or unreadable (LanceDB); nothing was written."""

    remedy = (
        "Restore the table's folder from a backup, or run with mode='rebuild' and max_delete_fraction=1.0, which does not "
        "read what is there; if the table cannot even be opened, move its folder away first."
    )


class VersionIncomplete(PermanentError):
    """The version that was to go live was never finished, or was rejected by its gate."""

    remedy = "Build the version to its end first; only finished versions can go live."


class VersionMissing(PermanentError):
    """The index has no version of that name (any more)."""

    remedy = "Run the index task again, or pick one of the versions named above."


class TenantMissing(PermanentError):
    """The index has no document of that tenant."""

    remedy = "Check the tenant's name; tenants come with their first document."


class IndexNameTaken(PermanentError):
    """Something that this package did not make already has the index's name."""

    remedy = "Give the index another name, or remove the object of that name."


class ActivationFailed(TemporaryError):
    """The store did not switch the live name, or did not keep it switched."""


class IndexBusy(Busy):
    """Another run writes this index right now."""

    remedy = "Let the other run end; set max_active_runs=1 on the DAG so that runs do not meet."
