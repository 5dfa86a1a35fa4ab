"""LSFB-CONT: sentences of French Belgian Sign Language as MediaPipe landmarks."""

from jaxvq.datasets import building, sentences
from jaxvq.datasets.sentence_corpora import CORPORA
from jaxvq.pose.skeletons import LSFB_75


class Builder(sentences.SentenceBuilder):
    """75 MediaPipe points per frame (33 body, 2 x 21 hands), normalised by the shoulders."""

    BUILDER_CONFIGS = [
        building.ClipConfig(name="lsfb_75", description="Each clip at its own frame rate.")
    ]
    skeleton = LSFB_75
    homepage = "https://lsfb.info.unamur.be"
    corpus = CORPORA["LSFB-CONT"]
