"""The library of the fMRI-to-image benchmark. docs/architecture.md lists its packages and which may import which."""
