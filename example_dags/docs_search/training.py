"""Train the classifier: which of the thirty most documented modules does a text belong to?"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

CLASSES = 30
#: Most frequent terms of each kind that are kept: ten times smaller a model, and hardly a worse one.
VOCABULARY = 20_000
#: Bumped when the training code changes, so that a changed recipe is not mistaken for a trained model.
RECIPE = 1


def train(corpus: Path, corpus_digest: str, features: str, models: Path) -> dict[str, Any]:
    """Train, or find the model that the same corpus and features gave before.

    :param features: ``words`` (word 1-2-grams) or ``words+chars`` (and character 3-5-grams).
    :param models: folder that receives ``<hash>/classifier.joblib``.
    """
    identity = json.dumps([RECIPE, corpus_digest, features, version("scikit-learn")])
    folder = models / hashlib.sha256(identity.encode()).hexdigest()[:16]
    facts = folder / "facts.json"
    reused = facts.exists()
    if not reused:
        _fit(corpus, features, folder)
    return {
        **json.loads(facts.read_text(encoding="utf-8")),
        "kind": "model",
        "uri": str(folder / "classifier.joblib"),
        "features": features,
        "reused": reused,
    }


def _fit(corpus: Path, features: str, folder: Path) -> None:
    import joblib
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    documents = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    common = {name for name, _ in Counter(document["module"] for document in documents).most_common(CLASSES)}
    documents = [document for document in documents if document["module"] in common]
    training = [document for document in documents if not _held_out(document)]
    testing = [document for document in documents if _held_out(document)]

    vectorizers = [TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=VOCABULARY)]
    if features == "words+chars":
        vectorizers.append(
            TfidfVectorizer(
                analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, max_features=VOCABULARY
            )
        )
    model = make_pipeline(make_union(*vectorizers), LinearSVC(random_state=0))
    model.fit(*_columns(training))
    accuracy = model.score(*_columns(testing))

    for vectorizer in vectorizers:
        # A memory address kept for a warning; it would make every pickle differ.
        vars(vectorizer).pop("_stop_words_id", None)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "classifier.joblib").open("wb") as sink:
        joblib.dump(model, sink)
    facts = {
        "accuracy": round(accuracy, 4),
        "trained_on": len(training),
        "tested_on": len(testing),
        "digest": "sha256:" + hashlib.sha256((folder / "classifier.joblib").read_bytes()).hexdigest(),
    }
    # Last, so that a killed training leaves nothing that looks finished.
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _held_out(document: dict[str, str]) -> bool:
    return int(hashlib.sha256(document["id"].encode()).hexdigest(), 16) % 5 == 0


def _columns(documents: list[dict[str, str]]) -> tuple[list[str], list[str]]:
    return [document["text"] for document in documents], [document["module"] for document in documents]
