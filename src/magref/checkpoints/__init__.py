"""Weights on disk: the authors' layout, diffusers' layout, single files, and the ways from one to another.

- `headers`: what a safetensors file holds and whether it is whole, without reading a tensor
- `layout`: which kind of model folder this is, and whether it is complete; needs no torch
- `architecture`: names and sizes of the transformer
- `parts`: a model that has been checked but not read yet, and its way into memory
- `published`: load the authors' layout, or Wan2.1's own
- `convert`: the authors' layout into diffusers' layout, tensor by tensor
- `files`: single-file transformers (fp32 to fp8, GGUF) and LoRA files

Nothing is imported here: `headers` and `layout` answer in milliseconds, the others bring torch and diffusers with them.
"""
