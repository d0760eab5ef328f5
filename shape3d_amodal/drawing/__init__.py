"""Images of what is found: overlays, projections, meshes as GLB, turntables."""
