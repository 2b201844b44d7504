"""Names and shapes of the tensors of an SDXL UNet in Stability's own checkpoint format, written down from its layout.

Independent of the converter under test: this walks the blocks as generative-models' UNetModel builds them.
"""

from collections.abc import Iterator


def sgm_shapes(
    channels: int, multipliers: list[int], depths: list[int], context: int, vector: int, resnets: int = 2
) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape. `depths`: transformer blocks at each level, 0 for a level without attention."""
    shapes: dict[str, tuple[int, ...]] = {}
    embedding = 4 * channels

    def linear(name, n_in, n_out, bias=True):
        shapes[f"{name}.weight"] = (n_out, n_in)
        if bias:
            shapes[f"{name}.bias"] = (n_out,)

    def conv(name, n_in, n_out, side=3):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (n_out, n_in, side, side), (n_out,)

    def norm(name, n):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (n,)

    def resnet(name, n_in, n_out):
        norm(f"{name}.in_layers.0", n_in)
        conv(f"{name}.in_layers.2", n_in, n_out)
        linear(f"{name}.emb_layers.1", embedding, n_out)
        norm(f"{name}.out_layers.0", n_out)
        conv(f"{name}.out_layers.3", n_out, n_out)
        if n_in != n_out:
            conv(f"{name}.skip_connection", n_in, n_out, 1)

    def transformer(name, n, depth):
        norm(f"{name}.norm", n)
        linear(f"{name}.proj_in", n, n)
        for block in (f"{name}.transformer_blocks.{i}" for i in range(depth)):
            for attention, n_context in (("attn1", n), ("attn2", context)):
                linear(f"{block}.{attention}.to_q", n, n, bias=False)
                linear(f"{block}.{attention}.to_k", n_context, n, bias=False)
                linear(f"{block}.{attention}.to_v", n_context, n, bias=False)
                linear(f"{block}.{attention}.to_out.0", n, n)
            linear(f"{block}.ff.net.0.proj", n, 8 * n)
            linear(f"{block}.ff.net.2", 4 * n, n)
            for i in (1, 2, 3):
                norm(f"{block}.norm{i}", n)
        linear(f"{name}.proj_out", n, n)

    for name, n_in in (("time_embed", channels), ("label_emb.0", vector)):
        linear(f"{name}.0", n_in, embedding)
        linear(f"{name}.2", embedding, embedding)
    conv("input_blocks.0.0", 4, channels)
    skips, n, index = [channels], channels, 1
    for level, multiplier in enumerate(multipliers):
        for _ in range(resnets):
            resnet(f"input_blocks.{index}.0", n, channels * multiplier)
            n = channels * multiplier
            if depths[level]:
                transformer(f"input_blocks.{index}.1", n, depths[level])
            skips.append(n)
            index += 1
        if level < len(multipliers) - 1:
            conv(f"input_blocks.{index}.0.op", n, n)
            skips.append(n)
            index += 1
    resnet("middle_block.0", n, n)
    transformer("middle_block.1", n, depths[-1])
    resnet("middle_block.2", n, n)
    for index, (level, position) in enumerate(_up(len(multipliers), resnets)):
        resnet(f"output_blocks.{index}.0", n + skips.pop(), channels * multipliers[level])
        n = channels * multipliers[level]
        if depths[level]:
            transformer(f"output_blocks.{index}.1", n, depths[level])
        if level and position == resnets:
            conv(f"output_blocks.{index}.{2 if depths[level] else 1}.conv", n, n)
    norm("out.0", n)
    conv("out.2", n, 4)
    return {f"model.diffusion_model.{name}": shape for name, shape in shapes.items()}


def _up(levels: int, resnets: int) -> Iterator[tuple[int, int]]:
    for level in reversed(range(levels)):
        for position in range(resnets + 1):
            yield level, position
