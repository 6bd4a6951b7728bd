"""Engine `adapt`: small networks fitted on the labelled slices, fused with the candidates of `propagate`."""
