"""The builder of sentence-level corpora, whose tables have splits and texts."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow_datasets as tfds

from jaxvq.datasets import building, schema, sentence_corpora, splits
from jaxvq.datasets.sentence_corpora import Corpus, Sentence
from jaxvq.pose import preprocess
from jaxvq.pose.files import PoseFile


@dataclass(frozen=True)
class SentenceClip:
    """A sentence with a key that is unique in all splits: <split>/<name>."""

    key: str
    sentence: Sentence


class SentenceBuilder(building.CorpusBuilder, skip_registration=True):
    """A builder for one of sentence_corpora.CORPORA.

    Records have schema.features, text, signer, and the name of the sentence in exported files.
    """

    corpus: Corpus
    unused = ("stats", "splits_dir")

    def more_features(self) -> dict:
        return {name: tfds.features.Text() for name in ("text", "signer", "name")}

    def list_clips(self) -> list[SentenceClip]:
        listed = sentence_corpora.list_corpus(
            self.corpus, self.options.input, self.options.augmented
        )
        return [
            SentenceClip(f"{splits.NAMES[split]}/{sentence.name}", sentence)
            for split in sentence_corpora.SPLITS
            for sentence in listed[split]
        ]

    def list_inputs(self) -> list[PoseFile]:
        """The tables, and all files of the sentences."""
        root, folder = self.options.input, self.corpus.folder
        tables = [sentence_corpora.find_table(root, folder, "annotations.csv")]
        if more := self.options.augmented:
            tables.append(sentence_corpora.find_table(more, folder, self.corpus.augmented))
        paths = {*map(str, tables), *(path for clip in self.clips for path in clip.sentence.files)}
        return [PoseFile(os.path.relpath(path, root), path) for path in paths]

    def assign_splits(self, keys) -> dict[str, list[str]]:
        if self.options.split_file:
            return splits.assign_splits(keys, self.options.split_file)
        return splits.by_first_folder(keys)

    def make_reader(self, clips: list[SentenceClip]) -> Callable[[SentenceClip], dict]:
        return SentenceReader(
            self.corpus.scale, self.options.hand_threshold, self.builder_config.fps
        )


@dataclass(frozen=True)
class SentenceReader:
    """Turns a sentence into an example. scale: factors to pixels; fps: to resample to, or None."""

    scale: tuple[float, ...]
    hand_threshold: float
    fps: float | None

    def __call__(self, clip: SentenceClip) -> dict:
        """Raises SkippedClip, also without shoulders."""
        sentence = clip.sentence
        pose, _ = sentence.read(self.hand_threshold)
        pose = pose.replace(data=pose.data * np.array(self.scale, np.float32))
        with schema.skipping("no shoulders", clip.key):
            pose, _ = preprocess.preprocess(pose, pose.skeleton)
        texts = {"text": sentence.text, "signer": sentence.signer, "name": sentence.name}
        return schema.example(pose, clip.key, self.fps) | texts
