# NSD: from its bucket, from a simulator that writes the same files, or its published test images alone.

if study.dataset.has_recordings:

    include: "rules/files.smk"


if study.dataset.source == "simulated":

    include: "rules/simulate.smk"

elif study.dataset.source == "bucket":

    include: "rules/acquire.smk"


if study.dataset.has_recordings:

    include: "rules/prepare.smk"

else:

    include: "rules/images.smk"
