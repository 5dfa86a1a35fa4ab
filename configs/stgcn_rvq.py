"""An ST-GCN with residual vector quantization: a few frames of a pose become q tokens.

    jaxvq build --corpus pose_npz --input DIR --data DATA
    jaxvq train stgcn_rvq --data DATA --workdir RUN

Any pose dataset works, e.g. `sign_poses`: the graph is that of the dataset's skeleton. YAML files
with the original Pose Tokenizer's keys are configs too: --config configs/stgcn_rvq.yaml.

Variants, after a colon:
  (none), :default   64 frames, 4 layers, 4 codebooks of 1024.
  :original          the same network with the learning rate, losses, augmentation and epochs of the
                     original Pose Tokenizer; what a YAML file starts from.
  :small             32 frames, 3 layers, 2 codebooks of 512: 18 bits per frame. 500 steps in two
                     minutes.
  :medium            a graph of twice the width, for 1000 steps of twice the rows.
  :large             128 frames, 6 layers, 8 codebooks of 2048.
  :runlocal          seconds on a CPU; what the tests run.

Measured: trained on 421 clips of 178 points, mean error on 63 test clips in shoulder widths (the
mean pose: 0.093), CPU time on 2 cores with start, compilation and validation:

             parameters   CPU time   test error
    :small   0.55 M       118 s      0.041
    :medium  0.73 M       6.4 min    0.037

config.quantizer.type=rvq|rfsq|fsq changes the quantizer on the same network;
config.model.frames_per_step=1|2|4|8 the number of frames per step of tokens.
"""

from ml_collections import ConfigDict

from jaxvq.configs import common

VARIANTS = ("", "default", "original", "small", "medium", "large", "runlocal")


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant, or of a YAML file; ValueError for an unknown one."""
    if arg and arg.endswith((".yaml", ".yml")):
        from jaxvq.importers import pose_tokenizer_yaml

        return pose_tokenizer_yaml.get_config(arg)
    arg = common.check_variant("stgcn_rvq", arg, VARIANTS, also=", the path of a .yaml file,")
    config = common.poses()
    config.task = "pose_tokenizer"
    config.total_steps = 50_000
    config.batch_size = 32
    config.data.seq_len = 64
    config.augment.mirror = 0.5
    config.optim.update(learning_rate=5e-4, weight_decay=1e-5)

    config.model = ConfigDict()
    config.model.parts = ""  # a network for each: "body face hands"; see jaxvq/tasks/streams.py
    config.model.hidden_dim = 256  # of a frame's vector
    config.model.graph_dim = 64  # of a point's features
    config.model.num_layers = 4  # graph blocks of the encoder
    config.model.decoder_layers = 4  # temporal blocks of the decoder
    config.model.temporal_kernel = 9  # frames that a convolution over time sees, odd
    config.model.frames_per_step = 1  # frames that one step of tokens stands for: 1, 2, 4 or 8
    config.model.dropout = 0.1  # in all blocks
    config.model.remat = False  # compute activations twice instead of keeping them

    config.quantizer = ConfigDict()
    config.quantizer.type = "rvq"  # or rfsq, fsq; see docs/stgcn_rvq.md
    config.quantizer.num_quantizers = 4  # layers, each of which quantizes what the last one left
    config.quantizer.codebook_size = 1024  # codes per layer, or a tuple with one size per layer
    config.quantizer.code_dim = 64  # numbers per code vector
    config.quantizer.commitment = 0.25  # weight of the commitment inside the quantization loss
    config.quantizer.decay = 0.99  # of the moving averages that code vectors follow
    config.quantizer.dead_below = 0.1  # codes rarer than this times the mean start anew; 0: never
    config.quantizer.init = "kmeans"  # of the first batch, or data: vectors of the first batch
    config.quantizer.dropout = 0.0  # share of the rows trained with fewer layers
    config.quantizer.levels = (8, 5, 5, 5)  # of fsq and rfsq: values per dimension of a layer

    config.loss = ConfigDict()  # weights of the terms; a term of weight 0 is not computed
    config.loss.type = "l2"  # or l1, smooth_l1, of the standardised coordinates
    config.loss.hand_weight = 8.0  # weight of a hand's point; others count 1
    config.loss.reconstruction = 1.0  # of the error of the coordinates
    config.loss.quantization = 1.0  # of the commitment: latents stay near their code vectors
    config.loss.velocity = 0.1  # of the error of differences from frame to frame
    config.loss.acceleration = 0.05  # of the error of the differences of these
    config.loss.bone = 0.1  # of the error of the lengths of bones, in shoulder widths
    config.loss.perceptual = 0.0  # of the error of what the encoder makes of a reconstruction

    changes = {
        "original": _original,
        "small": _small,
        "medium": _medium,
        "large": _large,
        "runlocal": _runlocal,
    }
    if arg in changes:
        changes[arg](config)
    return config


def _original(config: ConfigDict) -> None:
    config.update(num_epochs=100, warmup_epochs=10, eval_epochs=1, checkpoint_epochs=10)
    config.update(log_every=100, eval_videos=1)
    config.augment.update(turn=5.0, scale=0.03, noise=0.002)
    config.loss.update(hand_weight=1.0, perceptual=0.1, velocity=0.1, acceleration=0.0, bone=0.0)
    config.optim.update(learning_rate=1e-4, b2=0.999)


def _small(config: ConfigDict) -> None:
    _medium(config)
    config.total_steps = 500
    config.batch_size = 8
    config.model.graph_dim = 8
    config.optim.update(learning_rate=4e-3, warmup_steps=50)
    config.eval_every = 250
    config.checkpoint_every = 250


def _medium(config: ConfigDict) -> None:
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
