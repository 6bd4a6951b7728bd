"""The networks of the pretrained engines. Each file needs torch, so it is imported where it is used."""
