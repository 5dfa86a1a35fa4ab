"""An FSQ transformer autoencoder on `sign_poses`: a pose becomes one small set of integers a frame.

    python -m tools.build_dataset --corpus sign_poses --input DIR_OR_ZIP --data_dir DATA
    python -m jaxvq.train --config configs/fsq_pose.py --config.data.dir DATA --workdir RUN

Variants, after a colon:
  (none)      four streams (body, face, both hands with one network), each a linear code of patches
              of 16 frames, fitted to the data, and a transformer that learns what this cannot do.
              160 bits a patch, 9.97 a frame, are dealt to the streams by what they save.
  :small      the same for a laptop: 300 steps of 8 rows, a minute or two; what `make demo` runs.
  :live       the same for a camera: patches of 4 frames, and no step looks ahead (jaxvq/live.py).
  :frames     one codebook of 1000 codes for each frame, all points together.
  :sign_vq    sign-vq's published recipe: post-norm blocks of 512 x 8 layers, four codebooks, its
              optimizer, schedule and hand weights. Only the positions are those of the frames.
  :runlocal   seconds on a laptop's CPU, as :frames; what the tests run.

Measured on 63 unseen clips of real signing, trained on 421 (docs/rate_distortion.md; in shoulder
widths):

                                        bits/frame   all     body   face    hands
    :small, 0.96M parameters            9.96         .0185   .066   .0071   .057
    sign-vq's recipe, 0.93M, the same   9.97         .0672   .183   .0496   .114
    the mean pose                       0            .0926                  .209

`loss.hand_weight` matters where one stream holds all points. :frames, 300 steps as above but
batches of 8 x 256, hidden_dim 128, 2 layers:

    loss.hand_weight   all     body   face   hands   pck/0.05   codes in use
    2                  .0494   .177   .0191  .151    .788       44 %
    5 (default)        .0517   .168   .0263  .134    .747       55 %
    10                 .0531   .160   .0330  .114    .680       54 %
"""

from ml_collections import ConfigDict

VARIANTS = ("", "small", "live", "frames", "sign_vq", "runlocal")


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant; ValueError for an unknown one."""
    arg = arg or ""
    if arg not in VARIANTS:
        raise ValueError(
            f"configs/fsq_pose.py:{arg} is unknown; choose from "
            + ", ".join(f":{v}" for v in VARIANTS if v)
            + " or nothing"
        )
    config = ConfigDict()
    config.task = "pose_autoencoder"
    config.seed = 42
    config.dtype = "float32"  # of the computation; parameters, FSQ and softmax stay in float32
    config.total_steps = 100_000
    config.batch_size = 64  # rows of seq_len frames, over all devices of all hosts
    config.accumulate = 1  # parts that a batch is computed in, one after the other

    config.data = ConfigDict()
    config.data.dir = ""
    config.data.seq_len = 512
    config.data.num_workers = 0
    config.data.mixture = ()  # ((DIR, WEIGHT), …): so many frames of DIR for each of data.dir
    config.data.fps = 0.0  # to resample all clips to; 0 leaves each at its own
    config.data.min_frames = 0  # shorter clips are not trained on
    config.data.max_frames = 0  # nor longer ones, unless this is 0
    config.data.min_hands = 0.0  # nor those that show a hand in less than this share of a clip
    config.data.skip_damaged = False  # go on without records that cannot be read

    config.augment = ConfigDict()  # of training clips; see jaxvq/training/augment.py
    config.augment.mirror = 0.0
    config.augment.speed = 0.0
    config.augment.turn = 0.0
    config.augment.tilt = 0.0
    config.augment.scale = 0.0
    config.augment.noise = 0.0
    config.augment.hidden_hands = 0.0
    config.augment.hidden_points = 0.0

    config.model = ConfigDict()
    config.model.hidden_dim = 512
    config.model.num_layers = 6  # of the encoder, and as many of the decoder
    config.model.num_heads = 8
    config.model.ff_dim = 2048
    config.model.dropout = 0.1
    config.model.input_dropout = 0.0
    config.model.position = "rotary"
    config.model.norm_first = True
    config.model.activation = "gelu"
    config.model.see_visibility = True
    config.model.parts = ""  # a network for each: "body face left_hand right_hand"; see streams.py
    config.model.frames_per_step = 1  # frames that one step of tokens stands for
    config.model.transform = False  # a linear code fitted to the data beside the transformer
    config.model.window = 0  # steps on either side that a step attends to; 0 for all of the clip
    config.model.causal = False  # attend to nothing that comes later

    config.quantizer = ConfigDict()
    config.quantizer.type = "fsq"
    config.quantizer.levels = (8, 5, 5, 5)
    config.quantizer.num_quantizers = 1  # a stream
    config.quantizer.bits_per_frame = 0.0  # with model.transform: to choose the levels by the data

    config.loss = ConfigDict()
    config.loss.type = "l2"
    config.loss.hand_weight = 5.0  # 2 favours the face, 10 the hands
    config.loss.velocity = 0.0

    config.optim = ConfigDict()
    config.optim.optimizer = "adamw"
    config.optim.schedule = "warmup_cosine"
    config.optim.learning_rate = 3e-4
    config.optim.warmup_steps = 1000
    config.optim.final_scale = 0.05
    config.optim.b1 = 0.9
    config.optim.b2 = 0.95
    config.optim.eps = 1e-8
    config.optim.weight_decay = 0.1
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

    if arg == "sign_vq":
        _sign_vq(config)
    elif arg == "runlocal":
        _runlocal(config)
    elif arg == "small":
        _small(config)
    elif arg == "live":
        _live(config)
    elif arg != "frames":
        _linear(config)
    return config


def _linear(config: ConfigDict) -> None:
    config.batch_size = 64
    config.model.update(hidden_dim=256, num_layers=4, ff_dim=1024, dropout=0.0)
    config.model.update(parts="body face hands", frames_per_step=16, transform=True, window=4)
    config.quantizer.update(num_quantizers=4, bits_per_frame=9.97)
    config.loss.update(type="distance", hand_weight=1.0)
    config.optim.update(learning_rate=1e-3, weight_decay=0.0)


def _small(config: ConfigDict) -> None:
    _linear(config)
    config.total_steps = 300
    config.batch_size = 8
    config.data.seq_len = 256
    config.model.update(hidden_dim=32, num_layers=2, num_heads=4, ff_dim=128, window=2)
    config.optim.update(learning_rate=2e-3, warmup_steps=30)
    config.log_every = 20
    config.eval_every = 100
    config.eval_videos = 2
    config.checkpoint_every = 100


def _live(config: ConfigDict) -> None:
    _linear(config)
    config.model.update(frames_per_step=4, window=8, causal=True)
    config.quantizer.num_quantizers = 1


def _sign_vq(config: ConfigDict) -> None:
    config.total_steps = 10_000_000
    config.batch_size = 240
    config.eval_every = 100_000 // 240
    config.eval_batches = 1
    config.checkpoint_every = 5000
    config.model.update(
        num_layers=8,
        num_heads=16,
        input_dropout=0.15,
        position="sinusoidal",
        norm_first=False,
        activation="relu",
        see_visibility=False,
    )
    config.quantizer.num_quantizers = 4
    # sign-vq weighs hands 10 and everything else 178 / (134 + 44 * 10).
    config.loss.hand_weight = 10 * (134 + 44 * 10) / 178
    config.optim.update(schedule="warmup_rsqrt", warmup_steps=10_000, final_scale=0.1, eps=1e-5)


def _runlocal(config: ConfigDict) -> None:
    config.total_steps = 200
    config.batch_size = 8
    config.data.seq_len = 128
    config.model.update(hidden_dim=64, num_layers=1, num_heads=4, ff_dim=128, dropout=0.0)
    config.optim.update(learning_rate=2e-3, warmup_steps=20)
    config.log_every = 20
    config.eval_every = 100
    config.eval_videos = 2
    config.checkpoint_every = 100
