"""A trained MindEye2 on the test trials; or, as a control, what its prior draws without brain activity."""

from fmri2img import job
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.decoded import save_decoded
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.methods.mindeye2.decode import decode


def main(snakemake) -> None:
    job.start(snakemake)
    wildcards, params = snakemake.wildcards, snakemake.params
    recording, embeddings = Recording.open(snakemake.input.recording), Embeddings.open(snakemake.input.embeddings)
    seed = int(wildcards.seed)
    ids, arrays, facts = decode(
        snakemake.input.decoder, recording, recording.test_rows(), seed, params.decoding, params.brain
    )
    encoder = f"{embeddings.metadata['encoder']} ({embeddings.metadata['revision']})"
    metadata = facts | {
        "method": params.method,
        "subject": wildcards.subject,
        "sessions": parse_sessions(wildcards.sessions),
        "seed": seed,
        "split": recording.metadata["split"],
        "split_sha256": recording.metadata["split_sha256"],
        "disclosure": facts["disclosure"] | {"encoder": encoder, "origin": params.origin},
    }
    save_decoded(snakemake.output[0], ids, metadata, **arrays)


main(snakemake)
