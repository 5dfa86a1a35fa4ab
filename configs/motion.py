"""Whole-body motion to tokens: our default's way, and two of the literature on our networks.

    jaxvq build --corpus bvh --input DIR_OR_ZIP --data DATA
    jaxvq train motion --data DATA --workdir RUN

Variants, after a colon:
  (none)          configs/fsq_pose.py with two streams, the body and its path: linear codes of
                  steps of 16 frames, fitted to the data, and a transformer beside each. 13.5 bits
                  a frame.
  :t2m_gpt        T2M-GPT (Zhang et al. 2023, https://arxiv.org/abs/2301.06052): one codebook of
                  512 codes for 4 frames, 2.25 bits a frame.
  :momask         MoMask (Guo et al. 2024, https://arxiv.org/abs/2312.00063): six residual layers of
                  512 codes for 4 frames, 13.5 bits a frame; a fifth of the rows trains with fewer.
  :small, :t2m_gpt_small, :momask_small
                  the same for a laptop: a few minutes each.
  :runlocal       seconds on a CPU; what the tests run.

Published of T2M-GPT and MoMask are the codes with their size and learning (moving averages of .99;
a code starts anew that fewer vectors than an eighth of its share choose), the loss (smooth L1 of
standardised numbers, velocity .5, commitment .02), windows of 64 frames, batches of 256, the width
of 512, and AdamW with its learning rate. Ours are the network (jaxvq/models/stgcn.py), the three
falls of the learning rate instead of one or two, and the numbers: a path and joints instead of the
263 features of HumanML3D. docs/motion.md has the measurements.
"""

from ml_collections import ConfigDict

from jaxvq.configs import common, fsq_pose, stgcn_rvq

RECIPES = ("t2m_gpt", "momask")
VARIANTS = ("", "small", *RECIPES, *(f"{name}_small" for name in RECIPES), "runlocal")


def get_config(arg: str = "") -> ConfigDict:
    """The config of a variant; ValueError for an unknown one."""
    arg = common.check_variant("motion", arg, VARIANTS)
    recipe = arg.removesuffix("_small")
    if recipe in RECIPES:
        return _recipe(recipe, small=recipe != arg)
    config = fsq_pose.get_config("" if not arg else "small")
    config.model.parts = "body path"
    config.model.part_weights.body = 1.0
    config.model.part_weights.path = 5.0  # of a velocity: every joint goes where it leads
    config.model.update(presence_changes=0)
    config.model.part_holds.update(body=0.0, hands=0.0)
    config.loss.velocity = 0.0
    config.quantizer.update(bits_per_frame=13.5, num_quantizers=16)
    if arg == "small":  # its data reward a larger network and more steps; docs/motion.md
        config.model.update(hidden_dim=64, num_layers=3, ff_dim=256)
        config.optim.warmup_steps = 150
        config.update(total_steps=1500, eval_every=500, checkpoint_every=500)
    if arg == "runlocal":
        config.total_steps = 20
        config.quantizer.update(bits_per_frame=3.0, num_quantizers=2)
        config.model.update(hidden_dim=16, num_layers=1, num_heads=2, ff_dim=32, window=1)
        config.update(log_every=10, eval_every=20, checkpoint_every=20, eval_videos=1)
    return config


def _recipe(name: str, small: bool) -> ConfigDict:
    config = stgcn_rvq.get_config()
    config.total_steps = 300_000
    config.batch_size = 256
    config.augment.mirror = 0.0
    config.optim.update(learning_rate=2e-4, b1=0.9, b2=0.99, weight_decay=0.0, clip_norm=0.0)
    config.optim.update(schedule="step", final_scale=0.05, warmup_steps=1000)
    config.model.update(hidden_dim=512, frames_per_step=4, dropout=0.0)
    config.quantizer.update(num_quantizers=1, codebook_size=512, code_dim=512)
    config.quantizer.update(commitment=0.02, decay=0.99, dead_below=0.125, init="data")
    config.loss.update(type="smooth_l1", velocity=0.5, acceleration=0.0, bone=0.0)
    if name == "momask":
        config.optim.update(final_scale=0.01, warmup_steps=2000)
        config.quantizer.update(num_quantizers=6, dropout=0.2)
    if small:
        config.total_steps = 1000
        config.batch_size = 32
        config.model.update(hidden_dim=128, graph_dim=16, num_layers=3, decoder_layers=3)
        config.model.temporal_kernel = 5
        config.quantizer.update(code_dim=64, decay=0.95)
        config.optim.update(learning_rate=2e-3, warmup_steps=50, clip_norm=1.0)
        config.update(log_every=50, eval_every=500, eval_videos=2, checkpoint_every=500)
    return config
