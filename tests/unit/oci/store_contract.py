"""What operators rely on, asked of every kind of image store. Subclasses provide the fixture ``store``."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest

from airflow_provider_mlops.oci.errors import ImageNotFound, ImageTagConflict, NoPreviousImage
from airflow_provider_mlops.oci.image_store import (
    IMAGE_CONFIG,
    IMAGE_INDEX,
    IMAGE_LAYER_GZIP,
    IMAGE_MANIFEST,
    ImageStore,
    Manifest,
    sha256_digest,
)
from airflow_provider_mlops.oci.promotion import promote, roll_back, rollback_target, tag_image

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE = datetime(2026, 3, 1, 13, tzinfo=UTC)
TWO = datetime(2026, 3, 1, 14, tzinfo=UTC)
KEY, OTHER_KEY = "0123456789abcdef", "fedcba9876543210"


def put_image(store: ImageStore, content: str) -> str:
    """Store a small image whose digest depends on ``content``; return the digest."""
    layer = content.encode()
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    ).encode()
    for blob in (layer, config):
        store.write_blob(sha256_digest(blob), io.BytesIO(blob))
    manifest = Manifest.of(
        # Spaces that no JSON library would keep: the bytes must come back as they are.
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE_MANIFEST,
                "config": {"mediaType": IMAGE_CONFIG, "digest": sha256_digest(config), "size": len(config)},
                "layers": [
                    {"mediaType": IMAGE_LAYER_GZIP, "digest": sha256_digest(layer), "size": len(layer)}
                ],
            },
            indent=3,
        ).encode(),
        IMAGE_MANIFEST,
    )
    store.put_manifest(manifest, manifest.digest)
    return manifest.digest


class ImageStoreContract:
    def test_an_unknown_tag_has_no_digest(self, store: ImageStore) -> None:
        assert store.digest_of("nothing") is None
        assert store.digest_of("sha256:" + "0" * 64) is None

    def test_an_unknown_image_is_named_in_the_error(self, store: ImageStore) -> None:
        with pytest.raises(ImageNotFound, match="nothing"):
            store.get_manifest("nothing")

    def test_a_repository_that_does_not_exist_yet_has_no_tags(self, store: ImageStore) -> None:
        assert store.tags() == []

    def test_a_tagged_manifest_keeps_its_bytes_and_type(self, store: ImageStore) -> None:
        digest = put_image(store, "a")
        before = store.get_manifest(digest)
        tag_image(store, digest, ["v1", "v2"])
        for selector in ("v1", "v2", digest):
            assert store.get_manifest(selector) == before
            assert store.digest_of(selector) == digest

    def test_an_index_of_several_platforms_is_tagged_as_it_is(self, store: ImageStore) -> None:
        part = store.get_manifest(put_image(store, "a"))
        entry = {
            "mediaType": part.media_type,
            "digest": part.digest,
            "size": len(part.content),
            "platform": {"architecture": "arm64", "os": "linux"},
        }
        index = Manifest.of(
            json.dumps({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [entry]}).encode(),
            IMAGE_INDEX,
        )
        store.put_manifest(index, index.digest)
        tag_image(store, index.digest, ["multi"])
        assert store.get_manifest("multi") == index

    def test_a_blob_comes_back_whole(self, store: ImageStore) -> None:
        content = bytes(range(256)) * 20_000
        digest = sha256_digest(content)
        assert not store.has_blob(digest)
        store.write_blob(digest, io.BytesIO(content))
        store.write_blob(digest, io.BytesIO(content))
        assert store.has_blob(digest)
        assert b"".join(store.read_blob(digest)) == content

    def test_a_missing_blob_is_an_error(self, store: ImageStore) -> None:
        put_image(store, "a")
        with pytest.raises(ImageNotFound):
            b"".join(store.read_blob("sha256:" + "0" * 64))

    def test_tagging_twice_writes_once(self, store: ImageStore) -> None:
        digest = put_image(store, "a")
        assert tag_image(store, digest, ["20260301-120000"]) == (digest, True)
        assert tag_image(store, digest, ["20260301-120000"]) == (digest, False)

    def test_a_conflicting_tag_is_found_before_any_is_written(self, store: ImageStore) -> None:
        old, new = put_image(store, "a"), put_image(store, "b")
        tag_image(store, old, ["20260301-120000"])
        with pytest.raises(ImageTagConflict):
            tag_image(store, new, ["fresh", "20260301-120000"])
        assert store.digest_of("fresh") is None
        assert store.digest_of("20260301-120000") == old

    def test_an_ordinary_tag_moves_only_when_told(self, store: ImageStore) -> None:
        old, new = put_image(store, "a"), put_image(store, "b")
        tag_image(store, old, ["v1"])
        with pytest.raises(ImageTagConflict):
            tag_image(store, new, ["v1"])
        tag_image(store, new, ["v1"], move=True)
        assert store.digest_of("v1") == new

    def test_a_promotion_leaves_a_ledger_tag(self, store: ImageStore) -> None:
        digest = put_image(store, "a")
        done = promote(store, digest, "production", now=NOON)
        assert done.ledger_tag == "production-20260301-120000"
        assert (done.previous_digest, done.changed) == (None, True)
        assert store.digest_of("production") == store.digest_of(done.ledger_tag) == digest

    def test_promoting_what_is_live_changes_nothing(self, store: ImageStore) -> None:
        digest = put_image(store, "a")
        promote(store, digest, "production", now=NOON)
        tags = sorted(store.tags())
        again = promote(store, "production", "production", now=ONE)
        assert not again.changed
        assert sorted(store.tags()) == tags

    def test_channels_have_ledgers_of_their_own(self, store: ImageStore) -> None:
        a, b = put_image(store, "a"), put_image(store, "b")
        promote(store, a, "beta", now=NOON)
        promote(store, b, "beta-eu", now=NOON)
        with pytest.raises(NoPreviousImage):
            rollback_target(store, "beta", "previous")

    def test_a_promotion_that_was_cut_off_before_the_channel_moved_is_continued(
        self, store: ImageStore
    ) -> None:
        a, b = put_image(store, "a"), put_image(store, "b")
        promote(store, a, "production", now=NOON)
        tag_image(store, b, ["production-20260301-130000"])
        done = promote(store, b, "production", now=TWO)
        assert done.ledger_tag == "production-20260301-130000"
        assert done.previous_digest == a
        assert "production-20260301-140000" not in store.tags()

    def test_an_image_that_was_live_without_a_ledger_can_be_put_back(self, store: ImageStore) -> None:
        a, b = put_image(store, "a"), put_image(store, "b")
        tag_image(store, a, ["production"])
        promote(store, b, "production", now=NOON)
        assert rollback_target(store, "production", "previous") == a

    def test_a_channel_that_was_moved_by_hand_keeps_its_way_back(self, store: ImageStore) -> None:
        a, b, c = (put_image(store, name) for name in "abc")
        promote(store, a, "production", now=NOON)
        tag_image(store, b, ["production"], move=True)
        promote(store, c, "production", now=ONE)
        assert rollback_target(store, "production", "previous") == b

    def test_a_clock_that_runs_behind_does_not_hide_a_promotion(self, store: ImageStore) -> None:
        a, b = put_image(store, "a"), put_image(store, "b")
        promote(store, a, "production", now=TWO)
        done = promote(store, b, "production", now=NOON)
        assert done.ledger_tag == "production-20260301-140001"
        assert rollback_target(store, "production", "previous") == a

    def test_previous_is_the_newest_promotion_of_another_image(self, store: ImageStore) -> None:
        a, b = put_image(store, "a"), put_image(store, "b")
        promote(store, a, "production", now=NOON)
        promote(store, b, "production", now=ONE)
        assert rollback_target(store, "production", "previous") == a
        done = roll_back(store, "production", "previous", key=KEY, now=TWO)
        assert store.digest_of("production") == a
        assert done.previous_digest == b
        assert done.ledger_tag == "production-20260301-140000"

    def test_a_retried_rollback_goes_back_once(self, store: ImageStore) -> None:
        a, b = put_image(store, "a"), put_image(store, "b")
        promote(store, a, "production", now=NOON)
        promote(store, b, "production", now=ONE)
        roll_back(store, "production", "previous", key=KEY, now=TWO)
        roll_back(store, "production", "previous", key=KEY, now=TWO)
        assert store.digest_of("production") == a
        roll_back(store, "production", "previous", key=OTHER_KEY, now=TWO)
        assert store.digest_of("production") == b

    def test_a_rollback_to_a_tag_or_a_digest(self, store: ImageStore) -> None:
        a, b, c = (put_image(store, name) for name in "abc")
        for moment, digest in ((NOON, a), (ONE, b), (TWO, c)):
            promote(store, digest, "production", now=moment)
        roll_back(store, "production", "production-20260301-120000", key=KEY)
        assert store.digest_of("production") == a
        roll_back(store, "production", b, key=KEY)
        assert store.digest_of("production") == b

    def test_a_rollback_to_something_unknown_moves_nothing(self, store: ImageStore) -> None:
        a = put_image(store, "a")
        promote(store, a, "production", now=NOON)
        with pytest.raises(ImageNotFound):
            roll_back(store, "production", "no-such-tag", key=KEY)
        assert store.digest_of("production") == a

    def test_a_healthy_store_is_writable_and_the_check_leaves_nothing(self, store: ImageStore) -> None:
        store.check_writable()
        assert store.tags() == []
