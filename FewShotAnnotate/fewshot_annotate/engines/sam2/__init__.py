"""Engine `sam2-video`: SAM 2 takes the volume as a video and carries labels through it."""
