# LAION-fMRI: from its bucket and the authors' repository, or from a simulator that writes the same files.


include: "rules/files.smk"


if study.dataset.simulated:

    include: "rules/simulate.smk"

else:

    include: "rules/acquire.smk"


include: "rules/prepare.smk"
