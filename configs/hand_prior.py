"""Models of pairs of hands, 90 numbers per frame, on `hand_prior`.

    jaxvq make hand-splits --input NPZ_DIR --output dataset_splits
    jaxvq build --corpus hand_prior --input NPZ_DIR --splits_dir dataset_splits \\
        --data DATA
    jaxvq train hand_prior:vae --data DATA --workdir RUN

Variants, after a colon:
  :vae       the prior: a variational autoencoder, to sample hands from (also without a variant)
  :fsq       a tokenizer: four tokens of a thousand codes per frame (40 bits)
  :runlocal  :vae within seconds on a laptop's CPU;  :fsq_runlocal  likewise
"""

from ml_collections import ConfigDict

from jaxvq.configs import common

VARIANTS = ("", "vae", "fsq", "runlocal", "fsq_runlocal")


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant; ValueError for an unknown one."""
    arg = common.check_variant("hand_prior", arg, VARIANTS)
    config = common.training()
    config.task = "hand_vae"
    config.total_steps = 50_000
    config.batch_size = 8192
    config.mirror = True  # mirror half of the frames in training
    config.data.seq_len = 1  # frames are drawn one by one, whatever their clip was

    config.model = ConfigDict()
    config.model.hidden_dim = 512  # of the dense layers
    config.model.num_layers = 3  # of the encoder, and as many of the decoder
    config.model.dropout = 0.0  # in all layers

    config.loss = ConfigDict()
    config.loss.mse_weight = 1.0  # of the mean square error of the standardised numbers
    config.loss.geodesic_weight = 1.0  # of the mean angle between rotations, in radians

    config.optim.update(learning_rate=1e-3, weight_decay=0.01, ema_decay=0.999)
    config.log_every = 100
    config.eval_every = 2000
    config.eval_videos = 0  # frames without order make no video; see jaxvq sample
    config.checkpoint_every = 2000

    if arg.startswith("fsq"):
        config.task = "hand_fsq"
        config.quantizer = ConfigDict()
        config.quantizer.type = "fsq"  # the only one that this task has
        config.quantizer.levels = (8, 5, 5, 5)  # values per dimension; the codes are their product
        config.quantizer.num_quantizers = 4  # tokens per frame
    else:
        config.model.latent_dim = 32  # numbers that a pair of hands becomes
        config.loss.kl_weight = 0.1  # of the KL divergence; 1: like a number's unit variance
    if arg.endswith("runlocal"):
        _runlocal(config)
    return config


def _runlocal(config: ConfigDict) -> None:
    config.total_steps = 300
    config.batch_size = 256
    config.model.update(hidden_dim=128, num_layers=2)
    config.optim.update(learning_rate=3e-3, warmup_steps=20, ema_decay=0.0)
    config.log_every = 50
    config.eval_every = 100
    config.checkpoint_every = 100
