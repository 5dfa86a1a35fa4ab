"""An FSQ transformer autoencoder on `sign_poses`: a pose becomes a few integers per frame.

    jaxvq build --corpus sign_poses --input DIR_OR_ZIP --data DATA
    jaxvq train fsq_pose --data DATA --workdir RUN

Variants, after a colon:
  (none)      four streams (body, face, both hands with one network), each a linear code of steps
              of 16 frames, fitted to the data, and a transformer that learns what this cannot do.
              Each step has 160 bits (9.97 per frame). They go where they lower the error most;
              hands count more than the face, and held shapes more than movement (docs/meaning.md).
  :small      the same for a laptop: 300 steps of 8 rows, a minute or two; what `make demo` runs.
  :live       the same for a camera: steps of 4 frames, and none looks ahead (jaxvq/live.py).
  :lm         for language models: eight codebooks a stream instead of four, and hands that come or
              go once a step at most. About 2,000 codes in all, where the default has 177,000.
  :frames     one codebook of 1000 codes for each frame, all points together.
  :sign_vq    sign-vq's published recipe: post-norm blocks of 512 x 8 layers, four codebooks, its
              optimizer, schedule and hand weights. Only the positions are those of the frames.
  :runlocal   seconds on a laptop's CPU, as :frames; what the tests run.

Measured on 63 unseen clips of real signing, trained on 421 (docs/rate_distortion.md; in shoulder
widths):

                                        bits/frame   all     body   face    hands
    :small                              9.96         .0223   .068   .0115   .058
    :small, all points count alike (*)  9.96         .0185   .066   .0071   .057
    sign-vq's recipe, 0.93M, the same   9.97         .0672   .183   .0496   .114
    the mean pose                       0            .0926                  .209

(*) part_weights 1, part_holds 0, presence_changes 0, loss.velocity 0: the best mean error. The
default keeps more of what tells signs apart, and its hands come and go (docs/meaning.md).

`loss.hand_weight` matters where one stream holds all points. :frames, 300 steps as above but
batches of 8 x 256, hidden_dim 128, 2 layers:

    loss.hand_weight   all     body   face   hands   pck/0.05   codes in use
    2                  .0494   .177   .0191  .151    .788       44 %
    5 (default)        .0517   .168   .0263  .134    .747       55 %
    10                 .0531   .160   .0330  .114    .680       54 %
"""

from ml_collections import ConfigDict

from jaxvq.configs import common

VARIANTS = ("", "small", "live", "lm", "frames", "sign_vq", "runlocal")


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant; ValueError for an unknown one."""
    arg = common.check_variant("fsq_pose", arg, VARIANTS)
    config = common.poses()
    config.task = "pose_autoencoder"
    config.total_steps = 100_000
    config.batch_size = 64
    config.data.seq_len = 512
    config.optim.update(learning_rate=3e-4, final_scale=0.05, b2=0.95, weight_decay=0.1)

    config.model = ConfigDict()
    config.model.hidden_dim = 512  # of a step's vector
    config.model.num_layers = 6  # of the encoder, and as many of the decoder
    config.model.num_heads = 8  # of each attention layer
    config.model.ff_dim = 2048  # of the feed-forward layers
    config.model.dropout = 0.1  # in all blocks
    config.model.input_dropout = 0.0  # of the coordinates that the encoder gets
    config.model.position = "rotary"  # or sinusoidal, constant (sign-vq's, without an order)
    config.model.norm_first = True  # normalise before each block, not after it
    config.model.activation = "gelu"  # or relu
    config.model.see_visibility = True  # tell the encoder which points are missing
    config.model.parts = ""  # a network for each: "body face left_hand right_hand"; see streams.py
    config.model.frames_per_step = 1  # frames that one step of tokens stands for
    config.model.transform = False  # a linear code fitted to the data beside the transformer
    config.model.presence_changes = 0  # times in a step that tokens can tell a hand comes or goes
    config.model.part_weights = ConfigDict()
    config.model.part_weights.body = 1.0  # what a distance counts, in the loss and for the bits
    config.model.part_weights.face = 1.0  # the same of the face
    config.model.part_weights.hands = 1.0  # the same of both hands
    config.model.part_holds = ConfigDict()
    config.model.part_holds.body = 0.0  # how much more bits count what is held; see linear_code.py
    config.model.part_holds.face = 0.0  # the same of the face
    config.model.part_holds.hands = 0.0  # the same of both hands
    config.model.window = 0  # steps on either side that a step attends to; 0 for the whole clip
    config.model.causal = False  # attend to nothing that comes later

    config.quantizer = ConfigDict()
    config.quantizer.type = "fsq"  # the only one that this task has
    config.quantizer.levels = (8, 5, 5, 5)  # values per dimension; the codes are their product
    config.quantizer.num_quantizers = 1  # codebooks per stream
    config.quantizer.bits_per_frame = 0.0  # with model.transform: to choose the levels by the data
    config.quantizer.real_bits = False  # bits_per_frame: what an entropy coder writes, roughly
    config.quantizer.steps = ()  # with real bits: step sizes of the streams, chosen by the data

    config.loss = ConfigDict()
    config.loss.type = "l2"  # or l1; distance: Euclidean, in shoulder widths
    config.loss.hand_weight = 5.0  # weight of a hand's point; 2 favours the face, 10 the hands
    config.loss.velocity = 0.0  # weight of the error of differences from frame to frame
    config.loss.rate = 0.0  # with model.transform: weight of the bits that `.jvq` files will take

    changes = {
        "": _linear,
        "small": _small,
        "live": _live,
        "lm": _lm,
        "sign_vq": _sign_vq,
        "runlocal": _runlocal,
    }
    if arg in changes:  # :frames is as above
        changes[arg](config)
    return config


def _linear(config: ConfigDict) -> None:
    config.batch_size = 64
    config.model.update(hidden_dim=256, num_layers=4, ff_dim=1024, dropout=0.0)
    config.model.update(parts="body face hands", frames_per_step=16, transform=True, window=4)
    config.model.presence_changes = 3
    config.model.part_weights.update(face=0.32, hands=1.8)
    config.model.part_holds.update(body=0.75, hands=1.0)
    config.quantizer.update(num_quantizers=4, bits_per_frame=9.97)
    config.loss.update(type="distance", hand_weight=1.0, velocity=0.3)
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
    config.model.update(frames_per_step=4, window=8, causal=True, presence_changes=1)
    config.quantizer.num_quantizers = 1


def _lm(config: ConfigDict) -> None:
    _linear(config)
    config.model.presence_changes = 1
    config.quantizer.num_quantizers = 8


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
