"""What engines with pretrained weights share."""
