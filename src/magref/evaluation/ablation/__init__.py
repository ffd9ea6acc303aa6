"""The paper's ablation (4.4, figure 9) at a small size: `python -m magref.evaluation.ablation BASE FOLDER`.

One plain image-to-video model is trained first; that one checkpoint is then adapted with each mechanism at equal
budget, over several seeds, and once more without shuffling. Its samples have one or two subjects and no background
pictures; the paper's (4.1) have one identity with objects. Three subjects, a background picture and three times the
length are then zero-shot.
"""
