"""Turns a checkpoint of sign-vq's trainer into a model that every tool here reads.

    jaxvq import sign-vq --input model.ckpt --args args.json \\
        --stats pose_normalization.json --output MODEL

Works without PyTorch, and nothing that is in the checkpoint's pickle is run.
"""

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_first("--input", "--checkpoint", help="the Lightning checkpoint, model.ckpt")
    parser.add_argument("--args", required=True, help="args.json, written next to it")
    parser.add_argument(
        "--stats", required=True, help="pose_normalization.json of the sign-vq that trained it"
    )
    parser.add_argument("--output", required=True, help="folder for the model; must hold none yet")
    args = parser.parse_args(argv)

    from jaxvq import checkpoint

    from .sign_vq import conversion

    config, params, skeleton, statistics = conversion.convert(args.input, args.args, args.stats)
    checkpoint.save_model(
        args.output,
        config=config,
        skeleton=skeleton,
        statistics=statistics,
        params=params,
        state={},
    )
    levels, codebooks = config.quantizer.levels, config.quantizer.num_quantizers
    print(
        f"{args.output}: {config.model.num_layers} + {config.model.num_layers} layers of "
        f"{config.model.hidden_dim}, {codebooks} codebook(s) of levels {tuple(levels)}"
    )
    return 0


if __name__ == "__main__":
    command.run(main)
