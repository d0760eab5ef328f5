"""What a method is, and ours as methods: completion with given masks, prediction from the image alone."""
