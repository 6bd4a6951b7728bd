"""Published weights of the pretrained engines: catalog, local store, licences, download and loading."""
