"""What several commands share: options, checks, and work image by image."""
