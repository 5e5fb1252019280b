"""Fused tensor operations: one package an operation, one definition and as many backends as pay for themselves.

    from kernels.gated_fusion import gated_fusion

Each operation has a reference in plain torch, or in NumPy where it works on files, which is its specification, and may
have a CPU kernel (plain C, compiled on first use) and a Triton kernel. `KERNELS=reference|cpu|triton` in the
environment forces one for every operation.
"""
