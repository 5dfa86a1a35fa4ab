"""How2Sign: sentences of American Sign Language as OpenPose keypoints."""

from jaxvq.datasets import building, sentences
from jaxvq.datasets.sentence_corpora import CORPORA
from jaxvq.pose.skeletons import OPENPOSE_67


class Builder(sentences.SentenceBuilder):
    """67 OpenPose points per frame (25 body, 2 x 21 hands), normalised by the shoulders."""

    BUILDER_CONFIGS = [
        building.ClipConfig(name="openpose_67", description="Each clip at its own frame rate.")
    ]
    skeleton = OPENPOSE_67
    homepage = "https://how2sign.github.io"
    corpus = CORPORA["How2Sign"]
