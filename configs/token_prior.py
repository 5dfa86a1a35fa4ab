"""A prior over the tokens of a frozen tokenizer: predict them, fill them in, make new ones.

    jaxvq build --corpus tokens --input DATA --tokenizer RUN --labels LABELS.csv --data TOKENS
    jaxvq train token_prior:small --data TOKENS --workdir PRIOR
    jaxvq generate PRIOR --label "content=walk style=active" --output OUT
    jaxvq evaluate-prior PRIOR --output OUT

Variants, after a colon:
  (none)     for a GPU: six layers of 512 over steps, within a step a masked network.
  :rq        the same with a transformer within a step, as the RQ-Transformer.
  :small     for a laptop: two layers of 128, minutes to train.
  :rq_small  likewise, with the transformer.
  :runlocal  seconds on a CPU; what the tests run.

docs/prior.md has the measurements.
"""

from ml_collections import ConfigDict

from jaxvq.configs import common

VARIANTS = ("", "rq", "small", "rq_small", "runlocal")


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant; ValueError for an unknown one."""
    arg = common.check_variant("token_prior", arg, VARIANTS)
    config = common.training()
    config.task = "token_prior"
    config.total_steps = 50_000
    config.batch_size = 64
    config.label_dropout = 0.1  # share of the clips trained without their label, for guidance
    config.data.seq_len = 64  # steps per row
    config.tokens = ConfigDict()  # what the tokens are; comes from the dataset

    config.model = ConfigDict()
    config.model.within = "masked"  # network within a step; or transformer
    config.model.hidden_dim = 512  # of a step's vector
    config.model.num_layers = 6  # of the transformer over steps
    config.model.num_heads = 8  # of each attention layer
    config.model.ff_dim = 2048  # of the feed-forward layers
    config.model.digit_dim = 16  # of a digit's embedding
    config.model.digit_width = 32  # features per digit within a step; per head of the transformer
    config.model.digit_layers = 4  # of the transformer within a step
    config.model.dropout = 0.1  # in all layers
    config.model.see_steps = True  # False hides the steps before, to measure what they tell
    config.model.see_digits = True  # False hides the digits before in a step, likewise

    config.optim.update(learning_rate=1e-3, b2=0.95, weight_decay=0.1, ema_decay=0.999)
    config.eval_videos = 0  # tokens have no video; see jaxvq generate
    if arg.startswith("rq"):
        config.model.within = "transformer"
    if arg.endswith("small"):
        _small(config)
    if arg == "runlocal":
        _small(config)
        config.total_steps = 20
        config.batch_size = 4
        config.data.seq_len = 16
        config.model.update(hidden_dim=16, num_heads=2, ff_dim=32, digit_dim=4, digit_width=4)
        config.optim.update(warmup_steps=2, ema_decay=0.0)
        config.update(log_every=5, eval_every=10, checkpoint_every=10)
    return config


def _small(config: ConfigDict) -> None:
    config.total_steps = 1500
    config.batch_size = 16
    config.data.seq_len = 32
    config.model.update(hidden_dim=128, num_layers=2, num_heads=4, ff_dim=256)
    config.model.update(digit_dim=8, digit_width=16, digit_layers=2)
    config.optim.update(learning_rate=3e-3, warmup_steps=50, ema_decay=0.99)
    config.log_every = 50
    config.eval_every = 250
    config.checkpoint_every = 250
