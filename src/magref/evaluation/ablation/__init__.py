"""The paper's ablation (4.4, figure 9) at a small size: `python -m magref.evaluation.ablation BASE FOLDER`.

One plain image-to-video model is trained first; that one checkpoint is then adapted with each mechanism at equal
budget, on one or two subjects without backgrounds (paper 4.1: one identity with objects), over several seeds, and once
more without shuffling. Three subjects, a background picture and three times the length are then zero-shot.
"""
