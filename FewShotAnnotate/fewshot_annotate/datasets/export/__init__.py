"""Export of accepted cases as a data set that other programs train on."""
