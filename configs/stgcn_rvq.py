"""An ST-GCN with residual vector quantization: a few frames of a pose become q tokens.

    python -m tools.build_dataset --corpus pose_npz --input DIR --data_dir DATA
    python -m jaxvq.train --config configs/stgcn_rvq.py --config.data.dir DATA --workdir RUN

Any dataset serves, also `sign_poses`: the graph is that of the dataset's skeleton. A YAML file with
the original Pose Tokenizer's keys is a config too: --config configs/stgcn_rvq.yaml.

Variants, after a colon:
  (none), :default   64 frames, 4 layers, 4 codebooks of 1024.
  :small             32 frames, 3 layers, 2 codebooks of 512: 18 bits a frame. Six and a half
                     minutes of CPU time on 421 clips of 178 points; test clips are 0.037 shoulder
                     widths off (mean pose: 0.093).
  :large             128 frames, 6 layers, 8 codebooks of 2048.
  :runlocal          seconds on a CPU; what the tests run.

config.quantizer.type=rvq|rfsq|fsq changes the quantizer on the same network;
config.model.frames_per_step=1|2|4|8 the number of frames a token stands for.
"""

from ml_collections import ConfigDict

VARIANTS = ("", "default", "small", "large", "runlocal")


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant, or of a YAML file; ValueError for an unknown one."""
    arg = arg or ""
    if arg.endswith((".yaml", ".yml")):
        from jaxvq.importers.pose_tokenizer_yaml import read

        return read(arg, get_config())
    if arg not in VARIANTS:
        raise ValueError(
            f"configs/stgcn_rvq.py:{arg} is unknown; choose from "
            + ", ".join(f":{v}" for v in VARIANTS if v)
            + ", the path of a .yaml file, or nothing"
        )
    config = ConfigDict()
    config.task = "pose_tokenizer"
    config.seed = 42
    config.dtype = "float32"  # of the computation; parameters and codebooks stay in float32
    config.total_steps = 50_000
    config.batch_size = 32  # rows of seq_len frames, over all devices of all hosts
    config.accumulate = 1  # parts that a batch is computed in, one after the other

    config.data = ConfigDict()
    config.data.dir = ""
    config.data.seq_len = 64
    config.data.num_workers = 0
    config.data.mixture = ()  # ((DIR, WEIGHT), …): so many frames of DIR for each of data.dir
    config.data.fps = 0.0  # to resample all clips to; 0 leaves each at its own
    config.data.min_frames = 0  # shorter clips are not trained on
    config.data.max_frames = 0  # nor longer ones, unless this is 0
    config.data.min_hands = 0.0  # nor those that show a hand in less than this share of a clip
    config.data.skip_damaged = False  # go on without records that cannot be read

    config.augment = ConfigDict()  # of training clips; see jaxvq/training/augment.py
    config.augment.mirror = 0.5
    config.augment.speed = 0.0
    config.augment.turn = 0.0
    config.augment.tilt = 0.0
    config.augment.scale = 0.0
    config.augment.noise = 0.0
    config.augment.hidden_hands = 0.0
    config.augment.hidden_points = 0.0

    config.model = ConfigDict()
    config.model.parts = ""  # a network for each: "body face hands"; see jaxvq/tasks/streams.py
    config.model.hidden_dim = 256  # of a frame's vector
    config.model.graph_dim = 64  # of a point's features
    config.model.num_layers = 4  # graph blocks of the encoder
    config.model.decoder_layers = 4
    config.model.temporal_kernel = 9
    config.model.frames_per_step = 1  # frames a token stands for
    config.model.dropout = 0.1
    config.model.remat = False  # compute activations twice instead of keeping them

    config.quantizer = ConfigDict()
    config.quantizer.type = "rvq"
    config.quantizer.num_quantizers = 4
    config.quantizer.codebook_size = 1024  # or a tuple, one size a layer
    config.quantizer.code_dim = 64
    config.quantizer.commitment = 0.25
    config.quantizer.decay = 0.99
    config.quantizer.dead_below = 0.1  # codes rarer than this times the mean start anew; 0: never
    config.quantizer.init = "kmeans"
    config.quantizer.dropout = 0.0  # share of the rows trained with fewer layers
    config.quantizer.levels = (8, 5, 5, 5)  # of fsq and rfsq

    config.loss = ConfigDict()  # weights; a term of weight 0 is not computed
    config.loss.type = "l2"  # or l1
    config.loss.hand_weight = 8.0
    config.loss.reconstruction = 1.0
    config.loss.quantization = 1.0
    config.loss.velocity = 0.1
    config.loss.acceleration = 0.05
    config.loss.bone = 0.1
    config.loss.perceptual = 0.0

    config.optim = ConfigDict()
    config.optim.optimizer = "adamw"
    config.optim.schedule = "warmup_cosine"
    config.optim.learning_rate = 5e-4
    config.optim.warmup_steps = 1000
    config.optim.final_scale = 0.01
    config.optim.b1 = 0.9
    config.optim.b2 = 0.99
    config.optim.eps = 1e-8
    config.optim.weight_decay = 1e-5
    config.optim.clip_norm = 1.0
    config.optim.ema_decay = 0.0  # moving average of the weights when above 0, e.g. 0.999

    config.log_every = 50
    config.eval_every = 1000
    config.eval_batches = 0  # of the validation split; 0 reads all of it
    config.eval_videos = 5
    config.checkpoint_every = 1000
    config.keep_last = 2
    config.keep_best = 1
    config.tensorboard = False
    config.wandb = ""  # a W&B project name

    if arg in ("small", "large", "runlocal"):
        {"small": _small, "large": _large, "runlocal": _runlocal}[arg](config)
    return config


def _small(config: ConfigDict) -> None:
    config.total_steps = 1000
    config.batch_size = 16
    config.data.seq_len = 32
    config.model.update(hidden_dim=128, graph_dim=16, num_layers=3, decoder_layers=3)
    config.model.update(temporal_kernel=5, dropout=0.0)
    config.quantizer.update(num_quantizers=2, codebook_size=512, decay=0.95)
    config.optim.update(learning_rate=2e-3, warmup_steps=100)
    config.eval_every = 500
    config.eval_videos = 3
    config.checkpoint_every = 500


def _large(config: ConfigDict) -> None:
    config.total_steps = 200_000
    config.batch_size = 64
    config.data.seq_len = 128
    config.model.update(hidden_dim=512, num_layers=6, decoder_layers=6, dropout=0.2)
    config.quantizer.update(num_quantizers=8, codebook_size=2048)
    config.loss.update(velocity=0.2, acceleration=0.1)
    config.optim.update(learning_rate=2e-4, warmup_steps=2000, weight_decay=1e-4)


def _runlocal(config: ConfigDict) -> None:
    config.total_steps = 60
    config.batch_size = 8
    config.data.seq_len = 32
    config.model.update(hidden_dim=32, graph_dim=8, num_layers=2, decoder_layers=2)
    config.model.update(temporal_kernel=3, frames_per_step=2, dropout=0.0)
    config.quantizer.update(num_quantizers=2, codebook_size=64, code_dim=16)
    config.optim.update(learning_rate=3e-3, warmup_steps=10)
    config.log_every = 20
    config.eval_every = 30
    config.eval_videos = 1
    config.checkpoint_every = 30
