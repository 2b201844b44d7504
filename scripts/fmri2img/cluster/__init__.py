"""What a SLURM cluster gives, and whether the requests of a study fit it (make slurm-check)."""
