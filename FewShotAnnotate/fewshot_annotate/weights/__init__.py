"""Pretrained weights: which there are, where they lie, their licences, and how they are downloaded."""
