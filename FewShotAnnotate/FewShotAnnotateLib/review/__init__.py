"""What a user needs to judge a result."""
