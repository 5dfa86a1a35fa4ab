"""Models of pairs of hands, 90 numbers a frame, on `hand_prior`.

    python -m tools.create_hand_splits --data_dir NPZ_DIR --output_dir dataset_splits
    python -m tools.build_dataset --corpus hand_prior --input NPZ_DIR --splits_dir dataset_splits \\
        --data_dir DATA
    python -m jaxvq.train --config configs/hand_prior.py:vae --config.data.dir DATA --workdir RUN

Variants, after a colon:
  :vae       the prior: a variational autoencoder, to sample hands from (also without a variant)
  :fsq       a tokenizer: four tokens of a thousand codes a frame (40 bits)
  :runlocal  :vae within seconds on a laptop's CPU;  :fsq_runlocal  likewise
"""

from ml_collections import ConfigDict

VARIANTS = ("", "vae", "fsq", "runlocal", "fsq_runlocal")


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant; ValueError for an unknown one."""
    arg = arg or ""
    if arg not in VARIANTS:
        raise ValueError(
            f"configs/hand_prior.py:{arg} is unknown; choose from "
            + ", ".join(f":{v}" for v in VARIANTS if v)
            + " or nothing"
        )
    config = ConfigDict()
    config.task = "hand_vae"
    config.seed = 42
    config.dtype = "float32"  # of the computation; parameters and FSQ stay in float32
    config.total_steps = 50_000
    config.batch_size = 8192  # frames, over all devices of all hosts
    config.accumulate = 1  # parts that a device computes its rows in, one after the other
    config.mirror = True  # half of the frames in training are seen as in a mirror

    config.data = ConfigDict()
    config.data.dir = ""
    config.data.seq_len = 1  # frames are drawn one by one, whatever their clip was
    config.data.num_workers = 0

    config.model = ConfigDict()
    config.model.hidden_dim = 512
    config.model.num_layers = 3  # of the encoder, and as many of the decoder
    config.model.dropout = 0.0

    config.loss = ConfigDict()
    config.loss.mse_weight = 1.0
    config.loss.geodesic_weight = 1.0  # a mean angle in radians

    config.optim = ConfigDict()
    config.optim.optimizer = "adamw"
    config.optim.schedule = "warmup_cosine"
    config.optim.learning_rate = 1e-3
    config.optim.warmup_steps = 1000
    config.optim.final_scale = 0.01
    config.optim.b1 = 0.9
    config.optim.b2 = 0.99
    config.optim.eps = 1e-8
    config.optim.weight_decay = 0.01
    config.optim.clip_norm = 1.0
    config.optim.ema_decay = 0.999  # moving average of the weights when above 0

    config.log_every = 100
    config.eval_every = 2000
    config.eval_batches = 0  # of the validation split; 0 reads all of it
    config.eval_videos = 0  # frames without order make no video; see tools.sample_hands
    config.checkpoint_every = 2000
    config.keep_last = 2
    config.keep_best = 1
    config.tensorboard = False
    config.wandb = ""  # a W&B project name

    if arg.startswith("fsq"):
        config.task = "hand_fsq"
        config.quantizer = ConfigDict()
        config.quantizer.type = "fsq"
        config.quantizer.levels = (8, 5, 5, 5)
        config.quantizer.num_quantizers = 4
    else:
        config.model.latent_dim = 32
        config.loss.kl_weight = 0.1  # 1 would weigh a number's unit variance like its error
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
