"""Training crops of annotated images: cut when they are asked for, or once into a pool on disk."""
