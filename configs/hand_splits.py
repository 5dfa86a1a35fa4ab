"""Which data sets the hand prior draws from, and how many frames, as the hand prior generator does.

    jaxvq make hand-splits --input NPZ_DIR --config configs/hand_splits.py

Variants, after a colon:
  (none)    1.5 million frames: 60 % high, 25 % medium, 15 % low priority
  :mini_1k  a thousand frames in the same proportions, to try things out

--config.targets.high=1050000 changes a number, --config.datasets.low="('CMU','KIT')" a list.
"""

from ml_collections import ConfigDict

from jaxvq.configs import common

VARIANTS = ("", "mini_1k")

# Sign language, dance and performance, interaction with objects, synthetic: the hands matter.
HIGH = (
    "SignAvatarsLang-001", "SignAvatarsWord", "SignAvatarsHam", "signlanguage", "DanceDB",
    "EyesJapan", "MotionXmusic", "MotionXperform", "conductmusic", "entertainment", "singing",
    "GRAB", "MOYO", "TCDHands", "ham", "arctic", "Bedlam", "HUMAN4D", "idea400", "humman",
)  # fmt: skip
# People who talk, teach or do sports.
MEDIUM = (
    "magic", "speech", "talkshow", "tvshow", "interview", "videoconference", "online_class",
    "livevlog", "kungfu", "fitness", "movie", "olympic", "mscoco",
)  # fmt: skip
# Motion capture of the body, with hands that move little.
LOW = (
    "CMU", "KIT", "HDM05", "ACCAD", "SFU", "TotalCapture", "BMLrub", "BMLmovi", "WEIZMANN", "EKUT",
    "Mosh", "HumanEva", "PosePrior", "SOMA", "Transitions", "CNRS", "MotionXanimation",
    "MotionXhaa500", "DFaust", "SSM",
)  # fmt: skip


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant; ValueError for an unknown one."""
    arg = common.check_variant("hand_splits", arg, VARIANTS)
    config = ConfigDict()
    config.datasets = ConfigDict()
    config.datasets.high = HIGH  # data sets of high priority
    config.datasets.medium = MEDIUM  # data sets of medium priority
    config.datasets.low = LOW  # data sets of low priority
    config.targets = ConfigDict()
    config.targets.high = 900_000  # frames to draw from data sets of high priority
    config.targets.medium = 375_000  # frames to draw from data sets of medium priority
    config.targets.low = 225_000  # frames to draw from data sets of low priority
    config.ratios = ConfigDict()
    config.ratios.train = 0.8  # share of the frames to train on
    config.ratios.val = 0.1  # share of the frames to validate on
    config.ratios.test = 0.1  # share of the frames to test on
    if arg == "mini_1k":
        config.targets.update(high=600, medium=250, low=150)
    return config
