"""Which data sets the hand prior draws from, and how many frames, as the hand prior generator does.

    python -m tools.create_hand_splits --data_dir NPZ_DIR --config configs/hand_splits.py

Variants, after a colon:
  (none)    1.5 million frames: 60 % high, 25 % medium, 15 % low priority
  :mini_1k  a thousand frames in the same proportions, to try things out

--config.targets.high=1050000 changes a number, --config.datasets.low="('CMU','KIT')" a list.
"""

from ml_collections import ConfigDict

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
    if (arg or "") not in VARIANTS:
        raise ValueError(f"configs/hand_splits.py:{arg} is unknown; choose :mini_1k or nothing")
    config = ConfigDict()
    config.datasets = ConfigDict({"high": HIGH, "medium": MEDIUM, "low": LOW})
    config.targets = ConfigDict({"high": 900_000, "medium": 375_000, "low": 225_000})
    config.ratios = ConfigDict({"train": 0.8, "val": 0.1, "test": 0.1})
    if arg == "mini_1k":
        config.targets.update(high=600, medium=250, low=150)
    return config
