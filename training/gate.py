"""Learn what the signs of the gate weigh: `python training/gate.py QUESTIONS.jsonl ...`.

The questions are asked of the index in CERVELLA_HOME; `unanswerable` ones are those it should turn away.
Needs scikit-learn, which comes with sentence-transformers. See training/README.md.
"""
# ruff: noqa: T201 - printing is what it is for

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cervella_rag import bootstrap
from cervella_rag.evaluation.retrieval import Item, read_items
from cervella_rag.retrieval.evidence import WEIGHED, asks_one_thing, gate_for, signs

_WRONG = (0.06, 0.05, 0.04, 0.03)
_SEEDS = 5


def read(files: list[Path]) -> list[Item]:
    """Read questions that are asked of the memory and not counted in it."""
    return [item for file in files for item in read_items(file) if item.kind != "count_exist"]


def fit(shown: list[dict[str, float]], is_absent: np.ndarray, names: list[str], answerable: int) -> None:
    """Print weights, and at several lines what is turned away of questions that were not learned from."""
    rows = np.array([[one[name] for name in names] for one in shown])
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.3, class_weight="balanced", max_iter=3000)
    )
    unseen = np.mean(
        [
            cross_val_predict(
                model, rows, is_absent, cv=StratifiedKFold(5, shuffle=True, random_state=seed),
                method="predict_proba",
            )[:, 1]
            for seed in range(_SEEDS)
        ],
        axis=0,
    )  # fmt: skip
    print(f"area under the curve, unseen: {roc_auc_score(is_absent, unseen):.3f}")
    for wrong in _WRONG:
        line = np.sort(unseen[~is_absent])[::-1][int(wrong * answerable)]
        print(
            f"wrongly {wrong:.2f} of all: line {line:.3f}, rightly {(unseen[is_absent] > line).mean():.3f}"
        )
    scaler, learned = (step for _, step in model.fit(rows, is_absent).steps)
    weights = learned.coef_[0] / scaler.scale_
    bias = learned.intercept_[0] - float(weights @ scaler.mean_)
    print(json.dumps({name: float(f"{value:.3g}") for name, value in zip(names, weights, strict=True)}))
    print(f"bias {bias:.3g}")


def main() -> None:
    """Ask every question once, then learn what the signs of this embedder's gate weigh."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", type=Path, nargs="+")
    items = read(parser.parse_args().questions)
    retriever = bootstrap.make_retriever(bootstrap.load_settings(), strict=True)
    shown, absent = [], []
    for item in items:
        found = retriever.retrieve(item.question, top_k=WEIGHED)
        one = signs(found.understood, found.hits)
        if asks_one_thing(one):
            shown.append(one)
            absent.append(item.kind == "unanswerable")
    is_absent = np.array(absent)
    answerable = sum(item.kind != "unanswerable" for item in items)
    print(f"{len(items)} questions; of those that ask for one thing {(~is_absent).sum()} are answered")
    print(f"and {is_absent.sum()} of {len(items) - answerable} are not")
    fit(shown, is_absent, list(gate_for(retriever.reader().manifest.embedder).weights), answerable)


if __name__ == "__main__":
    main()
