"""A procedural world of subjects, scenes, motions and captions: what magref-nano is trained on."""
