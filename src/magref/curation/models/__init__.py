"""The models that curation uses, each a small module behind `curation.interfaces`; none of them needs torchvision."""
