"""What the configs of this folder share: the check of a variant's name, and the common fields.

A config takes `training()` or `poses()`, sets the fields that are its own, and adds its model,
quantizer and loss. Every field is assigned once with a comment that says what it means.
"""

from collections.abc import Iterable

from ml_collections import ConfigDict


def check_variant(config: str, arg: str | None, variants: Iterable[str], also: str = "") -> str:
    """The variant that `arg` names, "" for none.

    Args:
      config: name of the config's file, without ".py".
      variants: the choices; "" stands for no variant.
      also: what else the config takes, for the message.
    Raises:
      ValueError: an unknown variant; the message lists the choices.
    """
    arg = arg or ""
    if arg not in variants:
        choices = ", ".join(f":{variant}" for variant in variants if variant)
        raise ValueError(
            f"configs/{config}.py:{arg} is unknown; choose from {choices}{also} or nothing"
        )
    return arg


def training() -> ConfigDict:
    """Fields of every training; task, total_steps, batch_size and seq_len are the config's own."""
    config = ConfigDict()
    config.task = ""  # model with its losses: a module of jaxvq/tasks
    config.seed = 42  # of the initial weights, the order of the data, dropout and augmentation
    config.dtype = "float32"  # of the computation, or bfloat16; parameters and codes stay float32
    config.total_steps = 0  # steps to train for
    config.num_epochs = 0.0  # passes over the training clips; above 0 they set total_steps
    config.warmup_epochs = 0.0  # passes over the training clips; above 0: optim.warmup_steps
    config.eval_epochs = 0.0  # passes over the training clips; above 0: eval_every
    config.checkpoint_epochs = 0.0  # passes over the training clips; above 0: checkpoint_every
    config.batch_size = 0  # rows per step, over all devices of all hosts
    config.accumulate = 1  # parts that a device computes its rows in, one after the other

    config.data = ConfigDict()
    config.data.dir = ""  # folder or address of the dataset that jaxvq build made
    config.data.seq_len = 0  # frames per row
    config.data.num_workers = 0  # processes that read batches; 0 reads in threads of this one

    config.optim = ConfigDict()
    config.optim.optimizer = "adamw"  # or adam, sgd
    config.optim.schedule = "warmup_cosine"  # or step, exponential, warmup_rsqrt, constant
    config.optim.learning_rate = 1e-3  # the highest of the schedule
    config.optim.warmup_steps = 1000  # steps in which the learning rate rises from 0; 0 for none
    config.optim.final_scale = 0.01  # learning rate at the end, relative to learning_rate
    config.optim.b1 = 0.9  # decay of the mean of gradients; the momentum of sgd
    config.optim.b2 = 0.99  # decay of the mean of squared gradients; sgd has none
    config.optim.eps = 1e-8  # added to the root of that mean
    config.optim.weight_decay = 0.0  # of matrices, per step and learning rate; adamw only
    config.optim.clip_norm = 1.0  # largest norm of the gradient; 0 does not clip
    config.optim.ema_decay = 0.0  # moving average of the weights when above 0, e.g. 0.999

    config.log_every = 50  # steps between lines of the log and of metrics.jsonl
    config.eval_every = 1000  # steps between validations
    config.eval_batches = 0  # batches of the validation split to read; 0 reads all of it
    config.eval_videos = 5  # clips of each validation drawn beside their reconstruction
    config.checkpoint_every = 1000  # steps between checkpoints
    config.keep_last = 2  # newest checkpoints to keep
    config.keep_best = 1  # best checkpoints to keep beside them
    config.best_metric = "validation_loss"  # metric of metrics.jsonl that is lowest for the best
    config.tensorboard = False  # write metrics for TensorBoard too
    config.wandb = ""  # name of a W&B project to report to; "" for none
    return config


def poses() -> ConfigDict:
    """`training()`, and what only clips of poses have: choice of clips, and augmentation."""
    config = training()
    config.data.mixture = ()  # ((DIR, WEIGHT), …): WEIGHT frames of DIR for each frame of data.dir
    config.data.fps = 0.0  # frame rate that clips are resampled to; 0 leaves each at its own
    config.data.min_frames = 0  # shorter clips are not trained on
    config.data.max_frames = 0  # longer clips are not trained on; 0 for no limit
    config.data.min_hands = 0.0  # clips with hands in a smaller share of frames are left out
    config.data.skip_damaged = False  # go on without records that cannot be read

    config.augment = ConfigDict()  # of training clips; 0 is off; see jaxvq/training/augment.py
    config.augment.mirror = 0.0  # share of the rows that are mirrored
    config.augment.speed = 0.0  # clips play 2**-speed to 2**speed times as fast
    config.augment.turn = 0.0  # rotation in the picture's plane: standard deviation in degrees
    config.augment.tilt = 0.0  # rotation about the vertical: standard deviation in degrees
    config.augment.scale = 0.0  # size: standard deviation of its logarithm
    config.augment.noise = 0.0  # of each coordinate: standard deviation in shoulder widths
    config.augment.hidden_hands = 0.0  # share of the 16-frame stretches in which a hand is hidden
    config.augment.hidden_points = 0.0  # share of the points that are hidden
    return config
