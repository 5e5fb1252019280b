"""Function priors: knowledge that is a definition, not weights. One module a function.

Two kinds, both registered with `priors.registry.function` under the id a manifest names:

host      reads raw values (strings, image files, recordings) and gives features; it keeps no state and needs no fit.
              host = True, fitted = False
              input_type, output_type                    port types, as text
              extract(values) -> (n, D) float32          C-contiguous; the same numbers on every machine and run
tensor    maps a tensor to a tensor inside the model, so it is traced, compiled and exported with it.
              host = False, fitted = True | False
              input_type                                 the widest port type it takes, as text
              output_type_for(in_type) -> str            its output for that input, symbols resolved
              module(in_type) -> nn.Module               forward(x) -> tensor; buffers hold all that it knows
              fit(x) -> dict of buffers                  only when `fitted`; deterministic; `module.load_state_dict`
              takes it

This package is imported by `priors.registry` for `signatures`, which is light; the functions themselves need numpy or
torch and are registered by importing `priors.functions.everything`.
"""
