"""A procedural world of subjects, scenes, motions and captions: what magref-nano is trained on.

- `traits`: numbers that belong to a number, from which all else follows; `splits`: what training never sees
- `easel`, `shapes`, `palette`, `views`: painting many pictures at once
- `people`, `animals`, `things`, `places`: what there is to paint, and the words for it
- `identities`: a number stands for one person, animal or thing
- `plans`: what happens in each sample; `motions` and `language` are its paths and its captions
- `world`: samples rendered, from `camera`, `layers`, `surroundings` and `subject_pictures` into `scenes`
- `samples`, `footage`, `reels`: as datasets, as films with cuts, and as shots joined in every way
- `textures`, of the numbers in `draw`: pictures like photographs, which only the autoencoder learns from
"""
